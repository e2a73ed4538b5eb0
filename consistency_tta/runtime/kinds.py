"""Checks of the classes of arguments in Python; on a command line the parser makes them."""

from __future__ import annotations

from consistency_tta.runtime.errors import ConfigurationError


def require_kind(name: str, value: object, kind: type) -> None:
    """Raise a ConfigurationError that names an argument which is no object of a class, such as the class itself."""
    if not isinstance(value, kind):
        got = f"the class {value.__name__}: call it" if isinstance(value, type) else f"{value!r:.60}"
        raise ConfigurationError(f"expected an object of {kind.__name__} as {name}, got {got}")
