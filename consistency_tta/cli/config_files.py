"""Configuration files on a command line of Lightning's subcommands: recipes are found by name."""

from __future__ import annotations

import os.path
import re
from pathlib import Path

from consistency_tta.cli.mistakes import refuse
from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.recipes import is_file, nearest_recipe, resolve_recipe
from consistency_tta.storage.yaml_file import read_yaml

OPTIONS = ("--config", "-c")


def find_recipes(args: list[str]) -> list[str]:
    """Put the files of recipes in the place of their names; exit with 2 where there is no file and no recipe."""
    found = []
    for before, word in zip(["", *args], args, strict=False):
        option, equals, value = word.partition("=")
        if before in OPTIONS:
            found.append(_file(word))
        elif equals and option in OPTIONS:
            found.append(f"{option}={_file(value)}")
        elif word.startswith("-c") and len(word) > 2:  # -cFILE
            found.append(f"-c={_file(word[2:])}")
        else:
            found.append(word)
    return found


def _file(name: str) -> str:
    """The file that a configuration's name stands for."""
    refuse_address(name)
    file = resolve_recipe(os.path.expanduser(name))  # noqa: PTH111  # Path refuses names that are too long
    # Anything else is the parser's to read: YAML instead of a file's name.
    if not re.search(r"[:{\n]", name) and not is_file(file):
        near = nearest_recipe(name)
        hint = f"did you mean the recipe {near}?" if near else "consistency-tta recipes lists those of the package"
        # Not Path(name).is_dir(), which raises where a name is too long.
        fault = "is a folder" if os.path.isdir(file) else "is no file" if os.path.exists(file) else "is not there"  # noqa: PTH110, PTH112
        refuse(f"expected a YAML file or the name of a recipe after --config, but {name or 'nothing'} {fault}: {hint}")
    if is_file(file):
        check_yaml(Path(file))
    return file


def refuse_address(name: str) -> None:
    """Exit where a configuration lies elsewhere: it is a program, and options before it would be lost."""
    if re.match(r"\w+:/", name):
        refuse(f"expected a YAML file on this machine after --config, got the address {name}: download it and read it")


def check_yaml(file: Path) -> None:
    """Exit where a file is no YAML of options; the parser's own message would not name the file."""
    try:
        content = read_yaml(file)
    except DataError as error:
        refuse(str(error))
    if not isinstance(content, dict):
        got = "nothing" if content is None else f"a {type(content).__name__}"
        refuse(f"{file}: expected options with values, such as `trainer: {{max_steps: 100}}`, got {got}")
    if not isinstance(trainer := content.get("trainer", {}), dict):
        refuse(f"{file}: expected options as trainer, such as `trainer: {{max_steps: 100}}`, got {trainer!s:.40}")
