"""What a fresh process imports before it answers. Counted in modules, since seconds depend on what else is running."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "lightning", "diffusers", "transformers", "numpy"}
PROGRAM = """
import sys
from consistency_tta.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stopped:
    print(stopped.code, file=sys.stderr)
print("modules:", *sys.modules)
"""


def imported(args: list[str]) -> set[str]:
    """Modules that a process has imported after it has run a command line."""
    run = subprocess.run([sys.executable, "-c", PROGRAM, *args], check=True, capture_output=True, text=True)
    return set(run.stdout.splitlines()[-1].removeprefix("modules:").split())


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--help"],
        ["--version"],
        ["--hepl"],
        ["train", "--config", "x.yaml"],
        ["fit"],
        ["fit", "--modle", "x"],
        ["fit", "--config", "x.yaml", "model.seed=3"],
        ["generate", "a dog", "--guid", "3"],
        ["generate", "--help"],
        ["export", "--help"],
        ["completion", "bash"],
    ],
    ids=" ".join,
)
def test_an_answer_needs_nothing_heavy(args: list[str]) -> None:
    modules = imported(args)
    assert "consistency_tta.cli" in modules
    assert not HEAVY & modules


def test_generating_does_not_import_lightning() -> None:
    modules = imported(["generate", "a dog", "--model", "nowhere", "--grid.help", "LinspaceGrid"])
    assert "consistency_tta.diffusion.grid" in modules
    assert "consistency_tta.generate" in modules
    assert "lightning" not in modules
