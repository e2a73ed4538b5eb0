"""Folders of checkpoints are one run's while it trains."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage import folder_lock
from consistency_tta.storage.folder_lock import release_folders
from consistency_tta.training.callbacks.held_folders import HoldCheckpointFolders
from tests.held_folders import another_process, taken
from tests.training.runs import MAKERS, data, trainer


class Looks(Callback):
    """Looks at each step whether a folder is held; at the second it may fail."""

    def __init__(self, folder: Path, fails: bool = False) -> None:
        self.folder, self.fails, self.found = folder, fails, []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.found.append(taken(self.folder))
        if self.fails and batch_idx == 1:
            raise RuntimeError("as a loss")


def fit(teacher: Path, root: Path, folder: Path, *callbacks: Callback) -> None:
    saving = ModelCheckpoint(folder, every_n_train_steps=1, save_last=True)
    run = trainer(root, max_steps=2, callbacks=[saving, *callbacks], enable_checkpointing=True, logger=False)
    run.fit(MAKERS["diffusion"](teacher), data())


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_holds_its_folder_until_it_ends(fails: bool, teacher_folder: Path, tmp_path: Path) -> None:
    looks = Looks(tmp_path / "disk", fails)
    with pytest.raises(RuntimeError) if fails else nullcontext():
        fit(teacher_folder, tmp_path, tmp_path / "disk", looks)
    assert looks.found == [True, True]
    assert {file.suffix for file in (tmp_path / "disk").iterdir()} == {".ckpt"}


def test_a_second_run_is_refused_and_leaves_the_files_of_the_first(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.0)
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "last.ckpt").write_text("of the first")
    with another_process(disk) as first, pytest.raises(ConfigurationError, match=rf"disk.*{first.pid}"):
        fit(teacher_folder, tmp_path / "other", disk)
    assert (disk / "last.ckpt").read_text() == "of the first"
    fit(teacher_folder, tmp_path / "third", disk)  # the first was killed
    assert {file.suffix for file in disk.iterdir()} == {".ckpt"}


@pytest.mark.parametrize(
    ("settings", "held"), [({}, True), ({"fast_dev_run": 1}, False), ({"is_global_zero": False}, False)]
)
def test_the_first_process_of_a_run_that_writes_holds_it(settings: dict[str, Any], held: bool, tmp_path: Path) -> None:
    places = [tmp_path / "one", "memory://bucket", None, tmp_path / "two"]
    run: Any = SimpleNamespace(
        is_global_zero=True,
        strategy=SimpleNamespace(broadcast=lambda fault: fault),
        checkpoint_callbacks=[SimpleNamespace(dirpath=place) for place in places],
    )
    vars(run).update(settings)
    HoldCheckpointFolders().on_fit_start(run, None)  # type: ignore[arg-type]
    for name in ("one", "two"):
        assert (tmp_path / name).exists() == held
        assert not held or taken(tmp_path / name)
    release_folders()


def test_a_refusal_ends_all_processes() -> None:
    run: Any = SimpleNamespace(is_global_zero=False, strategy=SimpleNamespace(broadcast=lambda fault: "in use" + fault))
    with pytest.raises(ConfigurationError, match="in use"):
        HoldCheckpointFolders().on_fit_start(run, None)  # type: ignore[arg-type]
