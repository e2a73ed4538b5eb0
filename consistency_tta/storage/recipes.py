"""Recipes: YAML files of trainings, which come with the package and are found by name, such as ``tiny/consistency``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.suggest import nearest
from consistency_tta.storage.atomic_directory import check_folder

PACKAGE = Path(__file__).parents[1]
#: Where a clone has the recipes; a wheel has them inside the package.
CLONE = PACKAGE.parent / "lightning_configs"
FOLDER = PACKAGE / "recipes" if (PACKAGE / "recipes").is_dir() else CLONE
#: A file in the recipe's own folder, as recipes name it.
OWN_FILE = re.compile(r"\$\{recipe_folder:\}/([\w./-]+)")


def recipes() -> dict[str, Path]:
    """All recipes: their names, without ``.yaml``, and their files."""
    files = sorted(FOLDER.rglob("*.yaml"))
    return {file.relative_to(FOLDER).with_suffix("").as_posix(): file for file in files}


def recipe_name(name: str) -> str:
    """The name of a recipe, which may also be given with ``.yaml`` or with its folder in a clone."""
    return name.removeprefix(f"{CLONE.name}/").removesuffix(".yaml")


def resolve_recipe(name: str) -> str:
    """The file of a recipe, or the name itself if there is a file of that path or no recipe of that name.

    So a file of the user's comes before a recipe of its name, as with bundled models.
    """
    if is_file(name):
        return name
    return str(recipes().get(recipe_name(name), name))


def is_file(name: str) -> bool:
    """Whether a file is there. YAML in the place of its name may be longer than any name, which Path itself refuses."""
    try:
        return Path(name).is_file()
    except OSError:
        return False


def nearest_recipe(name: str) -> str | None:
    """The recipe whose name, or the last part of whose name, is most like a wrong one."""
    wrong, known = recipe_name(name), list(recipes())
    same_end = [recipe for recipe in known if recipe.rpartition("/")[2] == wrong.rpartition("/")[2]]
    return same_end[-1] if same_end else nearest(wrong, known)


def recipe_summary(file: Path) -> str:
    """What a recipe does: its first line."""
    with file.open(encoding="utf-8") as lines:
        return lines.readline().lstrip("#").strip().rstrip(".:")


def copy_recipe(name: str, folder: Path) -> list[Path]:
    """Copy a recipe, with the files of its folder that it names, or all recipes of a family, such as ``tiny``.

    Returns:
        The copies.

    Raises:
        ConfigurationError: if there is no such recipe or family.
        FileExistsError: if a copy would replace a file; nothing is written then.
    """
    known, wanted = recipes(), recipe_name(name).rstrip("/")
    sources = [known[wanted]] if wanted in known else [known[key] for key in known if key.startswith(f"{wanted}/")]
    if not sources:
        near = nearest_recipe(name)
        hint = f"did you mean {near}?" if near else "consistency-tta recipes lists them"
        raise ConfigurationError(f"expected the name of a recipe, got {name}: {hint}")
    own = [file.parent / part for file in sources for part in OWN_FILE.findall(file.read_text(encoding="utf-8"))]
    copies = {source: folder / source.name for source in (*sources, *own)}
    if there := [copy for copy in copies.values() if copy.exists()]:
        raise FileExistsError(f"{there[0]} is there already: name another folder, or remove it")
    check_folder(folder, "the copy")
    folder.mkdir(parents=True, exist_ok=True)
    for source, copy in copies.items():
        shutil.copyfile(source, copy)
    return list(copies.values())
