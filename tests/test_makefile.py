"""Which torch `make setup` installs, with a pip that only notes what it is asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Stands for the environment's Python.
PIP = """#!/usr/bin/env bash
case "$*" in
  "-m pip config list") echo "$CONFIG" ;;
  "-m pip list"*) echo "$INSTALLED" ;;
  *) echo "$*" >> asked.txt; [[ "$*" != *--index-url* ]] || exit "$CODE" ;;
esac
"""
UNAME = "#!/bin/sh\necho $SYSTEM\n"


def executable(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


def asked(folder: Path, gpu: str = "", **environment: str) -> list[str]:
    """What pip is asked for."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    executable(folder / ".venv/bin/python", PIP)
    executable(folder / "bin/uname", UNAME)
    defaults = {"CONFIG": "", "INSTALLED": "pip==26.0", "CODE": "0", "SYSTEM": "Linux"}
    path = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    make = ["make", "setup", f"GPU={gpu}", f"PYTHON={sys.executable}"]
    subprocess.run(make, cwd=folder, env=os.environ | defaults | path | environment, check=True, capture_output=True)
    assert (folder / ".venv/.installed").exists()
    return (folder / "asked.txt").read_text().splitlines()


@pytest.mark.parametrize("state", [{}, {"INSTALLED": "torch==2.12.0+cpu"}, {"CODE": "1"}])
def test_without_a_gpu_torch_is_the_build_for_cpus_if_it_can_be_had(tmp_path: Path, state: dict[str, str]) -> None:
    torch, everything = asked(tmp_path, **state)
    (version,) = (line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    assert torch.endswith(f"--index-url https://download.pytorch.org/whl/cpu {version}+cpu")
    assert everything.endswith("-e .[dev]")


@pytest.mark.parametrize(
    "state",
    [
        {"gpu": "/dev/nvidia0"},
        {"SYSTEM": "Darwin"},
        {"CONFIG": "global.extra-index-url='https://mirror.example/simple'"},
        {"CONFIG": ":env:.find-links='/wheels'"},
        {"CONFIG": "global.no-index='true'"},
        {"INSTALLED": "torch==2.13.0+xpu"},
        {"INSTALLED": "torch==2.13.0"},
    ],
)
def test_otherwise_it_is_what_pip_finds(tmp_path: Path, state: dict[str, str]) -> None:
    (everything,) = asked(tmp_path, **state)
    assert everything.endswith("-e .[dev]")
