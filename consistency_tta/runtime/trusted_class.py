"""Classes that a checkpoint or model folder names, imported only if they are trusted."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

from torch import nn

from consistency_tta.runtime.class_path import import_class
from consistency_tta.runtime.errors import UntrustedClassError
from consistency_tta.runtime.trust import LIBRARIES, is_trusted


def trusted_class(path: str, kind: type | tuple[type, ...], file: Path) -> Any:
    """The class of a path that a file names.

    Args:
        path: ``package.module.Class``.
        kind: what it must be.
        file: which names it, for the message.

    Raises:
        UntrustedClassError: the class is of a module that is not trusted; it is not imported.
        ConfigurationError: it does not exist, or is none of ``kind``.
    """
    if not is_trusted(path):
        raise untrusted(path, file)
    found = import_class(path, kind)
    if not is_trusted(found.__module__):
        raise untrusted(f"{found.__module__}.{found.__qualname__}", file)
    return found


def check_settings(settings: Any, file: Path) -> None:
    """Check that no value of nested settings names a class or function that is not trusted, by whatever key.

    Raises:
        UntrustedClassError: names the first.
    """
    if isinstance(settings, dict):
        for key, value in settings.items():
            if key in ("class_path", "_class_path"):
                _check_name(str(value), file, declared=True)
            else:
                check_settings(value, file)
    elif isinstance(settings, list | tuple):
        for value in settings:
            check_settings(value, file)
    elif isinstance(settings, str):
        _check_name(settings, file, declared=False)


def untrusted(path: str, file: Path) -> UntrustedClassError:
    """The error for a class that is not imported."""
    module = path.rpartition(".")[0] or path
    return UntrustedClassError(
        f"{file} names {path}, which is neither of consistency_tta, diffusers or transformers nor of an installed "
        f"plugin, so it is not imported: if you know its code, add --trust {module} (in Python: "
        f"consistency_tta.runtime.trust.trust([{module!r}]))"
    )


def _check_name(path: str, file: Path, declared: bool) -> None:
    """Check a text that is the path of a class, or, if it was not declared as one, may be."""
    parts = path.split(".")
    if len(parts) < 2 or not (declared or all(part.isidentifier() for part in parts)):
        return  # a class's bare name is looked up among classes that are imported already
    if not is_trusted(path):
        if declared or _importable(parts):
            raise untrusted(path, file)
        return
    found = _resolve(path)
    if found is not None and not (isinstance(found, ModuleType) and not declared) and not _is_harmless(found):
        raise untrusted(f"{getattr(found, '__module__', '?')}.{getattr(found, '__qualname__', path)}", file)


def _is_harmless(found: Any) -> bool:
    """Whether an object is trusted itself, not only the module through which it was named; of libraries, networks."""
    module = str(getattr(found, "__module__", ""))
    if module.split(".")[0] in LIBRARIES:
        return isinstance(found, type) and issubclass(found, nn.Module)
    return is_trusted(module)


def _resolve(path: str) -> Any:
    try:
        return resolve_name(path)
    except (ImportError, AttributeError, ValueError):
        return None


def _importable(parts: list[str]) -> bool:
    """Whether importing the module of a path would run a file; found out without doing so."""
    if parts[0] in sys.stdlib_module_names:
        return _resolve(".".join(parts)) is not None
    if parts[0] in sys.modules:
        return True
    spec = find_spec(parts[0])
    for end in range(2, len(parts) + 1):
        if spec is None or spec.origin is not None or end == len(parts):
            break
        # A folder without __init__.py, in which there may be modules.
        spec = PathFinder.find_spec(".".join(parts[:end]), spec.submodule_search_locations)
    return spec is not None and spec.origin is not None
