"""YAML files, with errors that name the file and the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from consistency_tta.runtime.deep_yaml import NESTED, is_too_deep
from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.text import read_text

#: How many values aliases (``*name``) may add to a file: a few lines of them can stand for billions, or for no end.
MOST_REPEATED = 100_000


def read_yaml(file: Path) -> Any:
    """What is in a YAML file.

    Raises:
        DataError: if it is not UTF-8 or no YAML, is nested too deep, has a key twice in one place, or has aliases that
            stand for themselves or for more than a parser can read.
    """
    text = read_text(file)
    if is_too_deep(text):
        raise DataError(f"{file}: {NESTED}")
    try:
        tree = yaml.compose(text, yaml.SafeLoader)
        if tree is not None:
            _check_aliases(tree, file)
        if twice := key_given_twice(tree):
            raise DataError(
                f"{file}, line {twice.start_mark.line + 1}: {twice.value} is given a second time, which would replace "
                "the first: put both into one"
            )
        return yaml.safe_load(text)
    except RecursionError:
        raise DataError(f"{file}: {NESTED}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise DataError(
            f"{file}{line}: not valid YAML: {error.problem or error.context}: correct it there or just before"
        ) from error
    except yaml.YAMLError as error:
        raise DataError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error


def children(node: yaml.Node) -> list[yaml.Node]:
    """The values of a list or of options."""
    if isinstance(node, yaml.MappingNode):
        return [value for _, value in node.value]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _check_aliases(tree: yaml.Node, file: Path) -> None:
    """Raise where aliases make a value that has itself within, or more values than a parser can read."""
    sizes: dict[int, int] = {}  # of each node with all that is within it, aliases written out; 0 while it is counted

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 0
            sizes[id(node)] = 1 + sum(map(size, children(node)))
        if not sizes[id(node)]:
            line = node.start_mark.line + 1
            raise DataError(f"{file}, line {line}: a value has itself within by its alias: write it out")
        return sizes[id(node)]

    if (got := size(tree)) > len(sizes) + MOST_REPEATED:
        raise DataError(
            f"{file}: expected aliases that repeat at most {MOST_REPEATED:,} values, got {got:,}: use fewer"
        )


def key_given_twice(tree: yaml.Node | None) -> yaml.ScalarNode | None:
    """The first key that a mapping has a second time; YAML itself would drop what the first one has."""
    found, nodes = set(), [] if tree is None else [tree]
    while nodes:
        node = nodes.pop()
        if id(node) in found:  # an alias
            continue
        found.add(id(node))
        keys: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in keys:
                    return key
                keys.add(key.value)
        nodes += reversed(children(node))
    return None
