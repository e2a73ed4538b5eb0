"""Folders of runs that begin at the same time."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage import folder_lock
from consistency_tta.storage.folder_lock import NAME, release_folders
from consistency_tta.training.callbacks.run_dir import claim_run_folder, run_folder
from tests.held_folders import another_process, taken
from tests.training.runs import trainer


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_two_runs_that_find_the_same_number_free_have_a_folder_each(kind: Any, tmp_path: Path) -> None:
    one, other = trainer(tmp_path, logger=kind(tmp_path)), trainer(tmp_path, logger=kind(tmp_path))
    look = other.logger._get_next_version
    # The first look is before the first run makes its folder.
    other.logger._get_next_version = chain([look()], iter(look, None)).__next__
    claim_run_folder(one, ExitStack())
    claim_run_folder(other, ExitStack())
    assert [run_folder(run).name for run in (one, other)] == ["version_0", "version_1"]


def test_a_folder_that_the_configuration_names_keeps_the_files_of_the_run_before(tmp_path: Path) -> None:
    claim_run_folder(trainer(tmp_path, logger=CSVLogger("memory://bucket")), ExitStack())
    assert not any(tmp_path.iterdir())
    folder = tmp_path / "lightning_logs" / "version_3"
    csv, tensorboard = CSVLogger(tmp_path, version=3), TensorBoardLogger(tmp_path, version=3)
    for run, loggers in (("first", [csv]), ("second", [tensorboard, csv]), ("third", [tensorboard])):
        claim_run_folder(trainer(tmp_path, logger=loggers), ExitStack())
        release_folders()
        for name in ("metrics.csv", "config.yaml"):
            (folder / name).write_text(run)
    kept = {file.name: file.read_text() for file in folder.iterdir() if "tfevents" not in file.name}
    assert kept == {
        "metrics.csv": "third",
        "metrics.csv.1": "first",
        "config.yaml": "third",
        "config.yaml.1": "first",
        "config.yaml.2": "second",
    }


def test_a_run_without_a_logger_keeps_the_configuration_that_it_may_have_been_started_with(tmp_path: Path) -> None:
    """Its processes may read it still: so it also stays where it is."""
    (tmp_path / "config.yaml").write_text("mine")
    (tmp_path / "config.yaml.1").write_text("older")
    claim_run_folder(trainer(tmp_path, fast_dev_run=True), ExitStack())
    claim_run_folder(trainer(tmp_path), ExitStack())
    names = ("config.yaml", "config.yaml.1", "config.yaml.2")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == dict(
        zip(names, ("mine", "older", "mine"), strict=True)
    )


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_a_folder_that_is_named_is_one_runs_at_a_time(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.0)
    folder = tmp_path / "lightning_logs" / "version_3"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("log")
    named = trainer(tmp_path, logger=kind(tmp_path, version=3))
    elsewhere = trainer(tmp_path, logger=False, callbacks=[ModelCheckpoint(folder)], enable_checkpointing=True)
    with another_process(folder):
        for run in (named, elsewhere):
            with pytest.raises(ConfigurationError, match="version_3"):
                claim_run_folder(run, ExitStack())
        assert {file.name for file in folder.iterdir()} == {NAME, "metrics.csv"}
    for run in (elsewhere, named):
        claim_run_folder(run, ExitStack())
        assert taken(folder) == (run is named)  # that of checkpoints is held when training begins
    release_folders()


def test_other_processes_and_loggers_of_other_kinds_claim_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_run_folder(trainer(tmp_path, logger=DummyLogger()), ExitStack())
    monkeypatch.setattr(Trainer, "is_global_zero", False)
    (tmp_path / "config.yaml").write_text("of the first process")
    claim_run_folder(trainer(tmp_path, logger=CSVLogger(tmp_path, name="", version="")), ExitStack())
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_a_link_to_nothing_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lightning_logs").symlink_to("nowhere")
    with pytest.raises(OSError, match="lightning_logs"):
        claim_run_folder(trainer(tmp_path, logger=CSVLogger(tmp_path)), ExitStack())


def test_a_run_that_does_nothing_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "lightning_logs" / "version_3"
    folder.mkdir(parents=True)
    before = {"metrics.csv": "log", "config.yaml": "mine"}
    for name, text in before.items():
        (folder / name).write_text(text)
    claims = [[CSVLogger(tmp_path, version=3)], [CSVLogger(tmp_path)], [CSVLogger(tmp_path, version=9)], []]
    for loggers in claims:
        with ExitStack() as undo:
            run = trainer(tmp_path, logger=loggers)
            claim_run_folder(run, undo)
            release_folders()
            (run_folder(run) / "config.yaml").write_text("refused")
    assert {file.name: file.read_text() for file in folder.iterdir()} == before
    files = {f"lightning_logs/version_3/{name}" for name in before}
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()} == files


@pytest.mark.parametrize("version", [None, 3])
def test_an_empty_folder_that_was_there_stays(version: int | None, tmp_path: Path) -> None:
    """Such as one that a user has made for the run."""
    (tmp_path / "mine").mkdir()
    for name in ("mine", "new"):
        with ExitStack() as undo:
            claim_run_folder(trainer(tmp_path, logger=CSVLogger(tmp_path, name=name, version=version)), undo)
            release_folders()
    assert [folder.name for folder in tmp_path.iterdir()] == ["mine"]
