"""A run's folder is removed only if there is nothing of a run in it."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule

from consistency_tta.training.callbacks.unused_folder import UnusedFolder, put_back, remove_beginning


@pytest.mark.parametrize("more", ["", "metrics.csv", "checkpoints/sigterm.ckpt"])
def test_what_a_run_has_made_stays(more: str, tmp_path: Path) -> None:
    folder = tmp_path / "lightning_logs" / "version_0"
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "hparams.yaml", "events.out.tfevents.1", *filter(None, [more])):
        (folder / name).touch()
    remove_beginning(folder, first=True)
    assert folder.exists() == bool(more)
    assert (tmp_path / "lightning_logs").exists() == bool(more)


def test_folders_of_other_runs_stay(tmp_path: Path) -> None:
    for version in ("version_0", "version_1"):
        (tmp_path / version).mkdir()
    remove_beginning(tmp_path / "version_1", first=True)
    assert [path.name for path in tmp_path.iterdir()] == ["version_0"]


def test_what_was_there_comes_back(tmp_path: Path) -> None:
    kept, place = tmp_path / "config.yaml.1", tmp_path / "config.yaml"
    kept.write_text("before")
    place.write_text("refused")
    for _ in range(2):  # the second finds nothing to bring back
        put_back(kept, place)
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("config.yaml", "before")]
    put_back(None, place)
    assert not place.exists()


@pytest.mark.parametrize(
    "name", ["on_train_batch_end", "on_validation_batch_end", "on_test_batch_end", "on_predict_batch_end"]
)
def test_a_batch_makes_a_run_and_the_sanity_check_does_not(name: str) -> None:
    callback = UnusedFolder()
    arguments: tuple[Any, ...] = (LightningModule(), None, None, 0)
    if name == "on_validation_batch_end":
        callback.on_validation_batch_end(SimpleNamespace(sanity_checking=True), *arguments)  # type: ignore[arg-type]
    assert not callback.used
    getattr(callback, name)(SimpleNamespace(sanity_checking=False), *arguments)
    assert callback.used


def test_so_does_a_checkpoint_of_a_process_that_the_run_has_started() -> None:
    """As with the strategies ddp_fork and ddp_spawn, which sends the callback by pickle."""
    callback = UnusedFolder()
    sent = ForkingPickler.loads(ForkingPickler.dumps(callback))
    process = torch.multiprocessing.get_context("fork").Process(target=sent.on_save_checkpoint, args=(None, None, {}))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert callback.used


@pytest.mark.parametrize("hook", ["train_batch_end", "save_checkpoint", "test_batch_end", "predict_batch_end"])
def test_each_kind_of_work_is_noted(hook: str) -> None:
    noted = UnusedFolder()
    getattr(noted, f"on_{hook}")()
    assert noted.used


@pytest.mark.parametrize(("stage", "step", "trained"), [("fit", 3, True), ("fit", 0, False), ("validate", 3, False)])
def test_steps_of_earlier_runs_are_noted_for_the_process_that_has_started_this_one(
    stage: str, step: int, trained: bool
) -> None:
    """With ddp_spawn its own trainer has no step: a finished run that goes on would be taken for one of no step."""
    callback = UnusedFolder()
    sent = ForkingPickler.loads(ForkingPickler.dumps(callback))
    sent.teardown(SimpleNamespace(global_step=step), LightningModule(), stage)
    assert (callback.trained, callback.used) == (trained, False)


def test_a_folder_that_is_gone_already_is_no_error(tmp_path: Path) -> None:
    remove_beginning(tmp_path / "version_0")
