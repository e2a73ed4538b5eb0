"""Of an error and its causes, the command shows the one whose message this package wrote."""

from __future__ import annotations

import ast
import errno
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from consistency_tta.audio.sound_bytes import inspect
from consistency_tta.cli.training_cli import TrainingCLI
from consistency_tta.cli.user_errors import one_line_errors, user_errors
from consistency_tta.diffusion.schedules.from_config import schedule_from_config
from consistency_tta.evaluation.metric_functions import UndefinedMetric
from consistency_tta.listening.extra import require_extra
from consistency_tta.listening.server import Refused
from consistency_tta.reporting.figure import require_matplotlib
from consistency_tta.runtime.class_path import import_class
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.text import read_text
from consistency_tta.training.checkpoint_file import read_checkpoint
from tests.test_imports import sources

#: Not for the command line: evaluations note the first, a web page shows the second.
INTERNAL = (UndefinedMetric, Refused)
#: Raised as the cause of another error of this package.
CHAINED = """
try:
    raise ValueError("the cause")
except ValueError as error:
    raise Class("what the user should read") from error
"""


def shown(call: Callable[[], Any]) -> str:
    """What the command prints of the error that a call raises."""
    with pytest.raises(SystemExit) as stopped, one_line_errors():
        call()
    return str(stopped.value.code)


def raised_from() -> list[tuple[str, str]]:
    """(module, class) of every ``raise Class(...) from error`` in the package, but of those from None."""
    found = []
    for module, source in sources().items():
        raised = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise)]
        found += [
            (module.removesuffix(".__init__"), ast.unparse(node.exc.func))
            for node in raised
            if isinstance(node.exc, ast.Call) and isinstance(node.cause, ast.Name)
        ]
    return sorted(set(found))


@pytest.mark.parametrize(("module", "name"), raised_from())
def test_every_error_raised_from_another_is_what_the_command_shows(module: str, name: str) -> None:
    known = vars(import_module(module))
    error_class = known.get(name) or getattr(__builtins__, name, None) or eval(name)
    if issubclass(error_class, (*INTERNAL, SystemExit)):
        return
    assert issubclass(error_class, user_errors())
    if error_class.__name__ == "BadClip":  # takes the fault first; a real one is below
        return
    text = shown(lambda: exec(CHAINED, {"__name__": module, "Class": error_class}))
    assert "what the user should read" in text
    assert "the cause" not in text


def test_the_syntax_trees_are_read() -> None:
    found = raised_from()
    assert ("consistency_tta.training.checkpoint_file", "CheckpointError") in found
    assert ("consistency_tta.datamodules.audio_folder", "PermissionError") in found
    assert len(found) >= 10


@pytest.fixture
def no_such_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "krippendorff"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("no_such_package")
def test_real_cases_name_the_thing_and_the_remedy(tmp_path: Path) -> None:
    latin, sound, checkpoint = tmp_path / "latin.csv", tmp_path / "broken.wav", tmp_path / "cut.ckpt"
    latin.write_bytes(b"id,caption\n1,caf\xe9\n")
    sound.write_bytes(b"RIFF nothing")
    checkpoint.write_bytes(b"PK\x03\x04 nothing")
    cases: dict[str, tuple[Callable[[], Any], list[str]]] = {
        "matplotlib": (require_matplotlib, ["consistency-tta[report]"]),
        "krippendorff": (lambda: require_extra("krippendorff"), ["krippendorff", "consistency-tta[listening]"]),
        "class": (lambda: import_class("my_losses.Loss", object), ["my_losses.Loss"]),
        "text": (lambda: read_text(latin), ["latin.csv, line 2", "UTF-8"]),
        "checkpoint": (lambda: read_checkpoint(checkpoint), ["cut.ckpt"]),
        "sound": (lambda: inspect(sound), ["unreadable"]),
        "schedule": (
            lambda: schedule_from_config({"_class_name": "DDIMScheduler", "beta_schedule": "zigzag"}),
            ["zigzag", "scaled_linear"],
        ),
    }
    for name, (call, parts) in cases.items():
        text = shown(call)
        for part in parts:
            assert part in text, name


def test_a_library_that_wraps_an_error_of_this_package_does_not_hide_it(tmp_path: Path) -> None:
    def library() -> None:
        try:
            read_checkpoint(tmp_path / "nowhere.ckpt")
        except ValueError as error:
            raise ValueError("resolution failed") from error

    assert "nowhere.ckpt" in shown(library)


def test_an_error_of_a_library_alone_is_shown_itself() -> None:
    def library() -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("the library's words") from error

    assert "the library's words" in shown(library)


def test_an_error_without_words_is_named_by_its_class() -> None:
    def library() -> None:
        raise FileNotFoundError

    assert "FileNotFoundError" in shown(library)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EROFS, "make it"),
        (errno.EACCES, "make it"),
        (errno.EFBIG, "free some space"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.EMFILE, "ulimit"),
        (errno.EIO, "a/file: "),
    ],
)
def test_an_error_of_the_system_says_what_to_do(number: int, said: str) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), "a/file")

    text = shown(fail)
    assert said in text
    assert "a/file" in text
    assert os.strerror(number) in text


def test_output_that_nobody_reads_is_no_full_disk() -> None:
    """A bar of Lightning's finds it first; other pipes, such as to workers, are no mistake of the user's."""
    cli = TrainingCLI.__new__(TrainingCLI)
    source = "def write():\n    raise BrokenPipeError(32, 'Broken pipe')"
    for module, expected in (("tqdm.std", ConfigurationError), ("multiprocessing", BrokenPipeError)):
        code: dict[str, Any] = {"__name__": module}
        exec(source, code)
        with pytest.raises(expected), cli._errors_of_lightning("fit"):
            code["write"]()
