"""Objects that a configuration names by their class."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from consistency_tta.runtime.errors import ConfigurationError


def import_class(path: str, kind: type | tuple[type, ...], home: ModuleType | None = None) -> Any:
    """The class of a path.

    Args:
        path: ``package.module.Class``, or a class's name in ``home``.
        kind: what the class must be, or a tuple of what it may be.
        home: where a name without a module is looked up.

    Raises:
        ConfigurationError: if the class does not exist, or it is of another kind.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module) if module or home is None else home, name)
    except (ImportError, AttributeError, ValueError) as error:
        where = f", or a class's name in {home.__name__}" if home else ""
        raise ConfigurationError(
            f"expected the path of a class{where}, got {path!r} ({error}): correct it, or install its package"
        ) from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        kinds = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise ConfigurationError(f"expected a {kinds}, got {path!r}, which is none: name another class")
    return found


def build(plugin: str | dict[str, Any], kind: type, home: ModuleType) -> Any:
    """An object of the class that a configuration names; nothing but a ``kind`` is ever called.

    Args:
        plugin: a class's name in ``home``, its full path, or ``{"class_path": ..., "init_args": {...}}`` with either.
        kind, home: see :func:`import_class`.

    Raises:
        ConfigurationError: if the class does not exist, or it is of another kind.
    """
    spec: dict[str, Any] = {"class_path": plugin} if isinstance(plugin, str) else plugin
    return import_class(spec.get("class_path", ""), kind, home)(**spec.get("init_args", {}))
