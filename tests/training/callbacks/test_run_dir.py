"""Folders of runs that begin at the same time."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from consistency_tta.training.callbacks.run_dir import claim_run_folder, run_folder
from tests.training.runs import trainer


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_two_runs_that_find_the_same_number_free_have_a_folder_each(kind: Any, tmp_path: Path) -> None:
    one, other = trainer(tmp_path, logger=kind(tmp_path)), trainer(tmp_path, logger=kind(tmp_path))
    look = other.logger._get_next_version
    # The first look is before the first run makes its folder.
    other.logger._get_next_version = chain([look()], iter(look, None)).__next__
    claim_run_folder(one)
    claim_run_folder(other)
    assert [run_folder(run).name for run in (one, other)] == ["version_0", "version_1"]


def test_a_folder_that_the_configuration_names_is_left_to_it_and_keeps_the_log(tmp_path: Path) -> None:
    claim_run_folder(trainer(tmp_path, logger=CSVLogger(tmp_path, version=3)))
    claim_run_folder(trainer(tmp_path, logger=CSVLogger("memory://bucket")))
    assert not any(tmp_path.iterdir())
    folder = tmp_path / "lightning_logs" / "version_3"
    folder.mkdir(parents=True)
    for run in ("first", "second"):
        (folder / "metrics.csv").write_text(run)
        csv = CSVLogger(tmp_path, version=3)
        claim_run_folder(trainer(tmp_path, logger=[TensorBoardLogger(tmp_path, version=3), csv]))
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "metrics.csv.1": "first",
        "metrics.csv.2": "second",
    }


def test_a_link_to_nothing_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lightning_logs").symlink_to("nowhere")
    with pytest.raises(OSError, match="lightning_logs"):
        claim_run_folder(trainer(tmp_path, logger=CSVLogger(tmp_path)))
