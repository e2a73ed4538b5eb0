"""The plan of the package, counted: doors at the root, arguments of constructors; see docs/architecture.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "consistency_tta"
#: What lies at the package's root: commands, and what users import.
DOORS = {"__init__", "__main__", "cli", "contracts", "pipeline", "generate", "encode", "export"}
MOST_ARGUMENTS = 10


def constructors(folder: Path) -> Iterator[tuple[str, int]]:
    """Classes with the number of arguments of their constructor; of dataclasses their fields."""
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            name = f"{file.relative_to(folder)}: {node.name}"
            if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
                yield name, sum(isinstance(part, ast.AnnAssign) for part in node.body)
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    yield name, len(part.args.args) + len(part.args.kwonlyargs) - 1


def test_only_doors_lie_at_the_root() -> None:
    found = {path.stem for path in ROOT.glob("*.py")} | {"cli", "contracts", "pipeline"}  # the last three are packages
    assert found == DOORS
    assert len(found) <= 9


def test_constructors_in_training_are_read_at_a_glance() -> None:
    counted = dict(constructors(ROOT / "training"))
    assert "distillation/module.py: Distillation" in counted
    assert {name: number for name, number in counted.items() if number > MOST_ARGUMENTS} == {}
