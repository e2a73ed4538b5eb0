"""Configuration files on a command line of Lightning's subcommands: recipes are found by name."""

from __future__ import annotations

import os.path
import re
from pathlib import Path

import yaml

from consistency_tta.cli.mistakes import refuse
from consistency_tta.runtime.deep_yaml import NESTED, load_yaml
from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.recipes import is_file, nearest_recipe, resolve_recipe
from consistency_tta.storage.text import read_text

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
        else:
            found.append(word)
    return found


def _file(name: str) -> str:
    """The file that a configuration's name stands for."""
    file = resolve_recipe(name)
    # Other files are the parser's to read: addresses such as s3://..., and YAML instead of a file's name.
    if not re.search(r"[:{\n]", name) and not is_file(file):
        near = nearest_recipe(name)
        hint = f"did you mean the recipe {near}?" if near else "consistency-tta recipes lists those of the package"
        # Not Path(name).is_dir(), which raises where a name is too long.
        fault = "is a folder" if os.path.isdir(name) else "is not there"  # noqa: PTH112
        refuse(f"expected a YAML file or the name of a recipe after --config, but {name or 'nothing'} {fault}: {hint}")
    if is_file(file):
        _check_yaml(Path(file))
    return file


def _key_given_twice(node: yaml.Node | None) -> yaml.ScalarNode | None:
    """The first key that a mapping has a second time; YAML itself would drop what the first one has."""
    keys: set[str] = set()
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in keys:
                    return key
                keys.add(key.value)
            children.append(value)
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    return next(filter(None, map(_key_given_twice, children)), None)


def _check_yaml(file: Path) -> None:
    """Exit where a file is no YAML of options; the parser's own message would not name the file."""
    try:
        text = read_text(file)
        content = load_yaml(text)
        if twice := _key_given_twice(yaml.compose(text, yaml.SafeLoader)):
            refuse(
                f"{file}, line {twice.start_mark.line + 1}: {twice.value} is given a second time, which would replace "
                "the first: put both into one"
            )
    except DataError as error:
        refuse(str(error))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        refuse(f"{file}{line}: not valid YAML: {error.problem or error.context}: correct it there or just before")
    except yaml.YAMLError as error:
        refuse(f"{file}: not valid YAML: {' '.join(str(error).split())}")
    except RecursionError:
        refuse(f"{file}: {NESTED}")
    if not isinstance(content, dict):
        got = "nothing" if content is None else f"a {type(content).__name__}"
        refuse(f"{file}: expected options with values, such as `trainer: {{max_steps: 100}}`, got {got}")
