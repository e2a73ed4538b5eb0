"""The subcommands ``recipes`` and ``recipes copy``."""

from __future__ import annotations

from pathlib import Path

from consistency_tta.storage.recipes import copy_recipe, recipe_summary, recipes


def list_recipes() -> None:
    """List the recipes that come with the package; ``fit --config NAME`` runs one."""
    found = recipes()
    width = max(map(len, found))
    for name, file in found.items():
        print(f"{name:{width}}  {recipe_summary(file)}")


def copy(name: str, folder: Path) -> list[Path]:
    """Copy a recipe into a folder, to change it there.

    Args:
        name: of a recipe, such as ``tiny/consistency``, or of a family, such as ``tiny``.
        folder: where to put the copy; made if it is not there.

    Returns:
        The copies.
    """
    copies = copy_recipe(name, folder)
    for file in copies:
        print(file)
    return copies
