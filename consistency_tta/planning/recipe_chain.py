"""Which recipe writes the model folder that another recipe reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


def recipe_that_writes(folder: str, recipes: Iterable[Path]) -> Path | None:
    """The first recipe whose ``ExportFolder`` writes the folder; None if there is none.

    Args:
        folder: as a recipe names it.
        recipes: YAML files.
    """
    return next((recipe for recipe in recipes if _same(folder, exported_folder(recipe))), None)


def neighbours(recipes: Iterable[Path]) -> list[Path]:
    """All YAML files in the folders of recipes, in order."""
    folders = dict.fromkeys(recipe.resolve().parent for recipe in recipes)
    return [file for folder in folders for file in sorted(folder.glob("*.yaml"))]


def exported_folder(recipe: Path) -> str | None:
    """The folder that a recipe's training writes; None if it writes none."""
    content: Any = OmegaConf.load(recipe)
    for callback in OmegaConf.select(content, "trainer.callbacks", default=None) or ():
        if str(callback.get("class_path", "")).endswith("ExportFolder"):
            return str(callback.init_args.folder)
    return None


def _same(one: str, other: str | None) -> bool:
    return other is not None and Path(one).resolve() == Path(other).resolve()
