"""No two classes of the package may have names that differ by upper and lower case alone."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from tests.test_imports import sources


def clashes(sources: dict[str, str]) -> Iterator[set[str]]:
    """Sets of class names, wherever they are defined, that are equal without regard to case."""
    names: dict[str, set[str]] = defaultdict(set)
    for source in sources.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                names[node.name.lower()].add(node.name)
    yield from (spellings for spellings in names.values() if len(spellings) > 1)


def test_class_names_differ_by_more_than_case() -> None:
    assert list(clashes(sources())) == []


def test_a_clash_is_found_across_modules() -> None:
    assert list(clashes({"a": "class LaionClap: ...", "b": "if True:\n    class LaionCLAP: ..."})) == [
        {"LaionClap", "LaionCLAP"}
    ]
