"""Ctrl+C ends the program with the status 130 and one line, wherever it was."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

#: Sends itself SIGINT where a module is first searched for; importers in C make an ImportError of KeyboardInterrupt.
PROGRAM = """
import importlib.abc, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
module, language = sys.argv[1:3]
del sys.argv[1:3]

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt as error:
                if language == "C":
                    raise ImportError("initialization failed") from error
                raise

sys.meta_path.insert(0, Interrupt())
from consistency_tta.__main__ import console
console()
"""


@pytest.mark.parametrize(
    ("module", "language", "args"),
    [
        ("consistency_tta.cli", "Python", ["--help"]),
        ("yaml", "C", ["--help"]),
        ("lightning", "Python", ["fit", "--config", "tiny/demo"]),
        ("jsonargparse", "Python", ["generate", "a dog"]),
    ],
)
def test_in_imports(module: str, language: str, args: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, language, *args], check=False, capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (128 + signal.SIGINT, "interrupted\n")


def test_an_import_that_fails_by_itself_is_shown() -> None:
    program = "import sys; sys.modules['yaml'] = None; from consistency_tta.__main__ import console; console()"
    run = subprocess.run([sys.executable, "-c", program, "--help"], check=False, capture_output=True, text=True)
    assert run.returncode == 1
    assert "Traceback" in run.stderr
