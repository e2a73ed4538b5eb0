"""What a fresh process imports before it answers. Counted in modules, since seconds depend on what else is running."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

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
        ["fit", "--help"],
        ["validate", "--config", "tiny/consistency", "--help"],
        ["fit", "--config", "tiny/consistency", "--model.student.guidance_scal", "3"],
        ["fit", "--config", "tiny/consistency", "--trainer.max_step=3"],
        ["generate", "a dog", "--guid", "3"],
        ["generate", "--help"],
        ["export", "--help"],
        ["encode", "--help"],
        ["plan", "--help"],
        ["completion", "bash"],
    ],
    ids=" ".join,
)
def test_an_answer_needs_nothing_heavy(args: list[str]) -> None:
    modules = imported(args)
    assert "consistency_tta.cli" in modules
    assert not HEAVY & modules


def test_generating_imports_neither_lightning_nor_trainings(tmp_path: Path) -> None:
    modules = imported(["generate", "a dog", "--model", "tiny-student", "--output", str(tmp_path / "out")])
    assert list((tmp_path / "out").glob("*.wav"))
    assert {"consistency_tta.generate", "consistency_tta.pipeline.model_folder"} <= modules
    assert not {
        name for name in modules if re.match(r"(lightning|pytorch_lightning|consistency_tta\.training)\b", name)
    }
