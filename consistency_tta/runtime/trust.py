"""Whose classes a file that was made elsewhere may name: importing or calling any other could run its author's code.

Checkpoints and model folders name classes. Those of this package, diffusers and transformers, of installed plugins
(entry-point group ``consistency_tta.plugins``) and of modules that the user trusts are imported; others are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.metadata import entry_points

#: The environment variable with the modules that the user trusts, separated by commas. Child processes inherit it.
VARIABLE = "CONSISTENCY_TTA_TRUST"
LIBRARIES = ("diffusers", "transformers")


def trust(modules: Iterable[str]) -> None:
    """Let checkpoints and model folders name classes of further modules, in this process and those it starts.

    Args:
        modules: such as ``my_package`` or ``my_package.losses``; all modules below are meant, too.
    """
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*_trusted_by_user(), *modules]))


def is_trusted(path: str) -> bool:
    """Whether a class of this path, ``package.module.Class``, may be imported."""
    parts = path.split(".")
    # Plugins come last: finding them reads the metadata of all installed packages.
    if parts[0] in {"consistency_tta", *LIBRARIES}:
        return True
    trusted = _trusted_by_user()
    return any(".".join(parts[:end]) in trusted for end in range(1, len(parts) + 1)) or parts[0] in _plugins()


def take_trust(args: list[str]) -> list[str]:
    """Obey all ``--trust MODULE`` of a command line; returns the other arguments."""
    rest, words = [], iter(args)
    for word in words:
        option, equals, value = word.partition("=")
        if option != "--trust":
            rest.append(word)
            continue
        modules = value if equals else next(words, "")
        if not modules.strip("[], ") or modules.startswith("-"):
            raise SystemExit("error: expected --trust MODULE, such as --trust my_package, got no module")
        trust(module.strip() for module in modules.strip("[]").split(","))
    return rest


def _trusted_by_user() -> list[str]:
    return [module for module in os.environ.get(VARIABLE, "").split(",") if module]


def _plugins() -> set[str]:
    """The top-level packages of installed plugins."""
    return {entry_point.module.split(".")[0] for entry_point in entry_points(group="consistency_tta.plugins")}
