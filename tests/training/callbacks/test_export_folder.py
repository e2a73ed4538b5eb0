"""When a training leaves a model folder, where, and with which weights."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, DivergenceError, ModelFolderError
from consistency_tta.training import BestUnderConstraints, Constraint, ExportFolder
from consistency_tta.training.callbacks.kept_weights import exported_state
from consistency_tta.training.callbacks.nonfinite_steps import SkipNonFiniteSteps
from tests.training.runs import MAKERS


def run_of(folder: Path, *callbacks: Callback, **more: Any) -> Any:
    """A run that has ended after three steps."""
    settings: dict[str, Any] = {"log_dir": str(folder / "logs"), "is_global_zero": True, "callbacks": list(callbacks)}
    settings |= {"checkpoint_callbacks": [], "ckpt_path": None, "callback_metrics": {"val/loss": torch.tensor(0.5)}}
    ends = {"global_step": 3, "max_steps": 3, "current_epoch": 0, "max_epochs": -1, "limit_train_batches": 1.0}
    return SimpleNamespace(**(settings | ends | more))


def written(folder: Path) -> dict[str, torch.Tensor]:
    return TextToAudioPipeline.from_pretrained(folder).unet.state_dict()


def stage_of(folder: Path) -> dict[str, Any]:
    return TextToAudioPipeline.load_config(folder)["training"][-1]


@pytest.fixture
def module(teacher_folder: Path) -> Any:
    return MAKERS["diffusion"](teacher_folder)


def test_the_model_is_in_the_runs_folder_and_at_its_place_where_another_is_renamed(
    module: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "model"
    place.mkdir()
    (place / "other").touch()
    with caplog.at_level(logging.INFO):
        ExportFolder(str(place), license="mit").on_train_end(run_of(tmp_path), module)
    assert (tmp_path / "model.1" / "other").exists()
    assert [text for text in caplog.messages if str(tmp_path / "model.1") in text]
    assert caplog.messages[-1].endswith(str(place))
    for folder in (place, tmp_path / "logs" / "model"):
        assert "license: mit" in (folder / "README.md").read_text()
        assert stage_of(folder)["steps"] == 3
        assert stage_of(folder)["metrics"] == {"val/loss": 0.5}
    assert (place / "README.md").samefile(tmp_path / "logs" / "model" / "README.md")


def test_fast_dev_run_writes_nothing_and_says_so(module: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ExportFolder(str(tmp_path / "model")).on_train_end(run_of(tmp_path, fast_dev_run=True), module)
    assert [text for text in caplog.messages if "fast_dev_run" in text and str(tmp_path / "model") in text]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sharded", [False, True])
def test_of_several_processes_the_first_one_writes_and_the_others_gather_shards(
    sharded: bool, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered: list[int] = []
    pipeline = module.pipeline()
    monkeypatch.setattr(module, "pipeline", lambda: (gathered.append(1), pipeline)[1])
    monkeypatch.setattr(module, "sharded", SimpleNamespace() if sharded else None)
    ExportFolder(str(tmp_path / "model")).on_train_end(run_of(tmp_path, is_global_zero=False), module)
    assert len(gathered) == sharded
    assert not list(tmp_path.iterdir())
    ExportFolder(str(tmp_path / "model")).on_train_end(run_of(tmp_path), module)
    assert (tmp_path / "model").exists()


class Written(ExportFolder):
    """Counts the folders that are written."""

    def __init__(self) -> None:
        super().__init__("model")
        self.count = 0

    def _write(self, trainer: Any, pl_module: Any) -> None:
        assert trainer.global_step == 3
        self.count += 1


def test_each_run_writes_once(module: Any, tmp_path: Path) -> None:
    """At the end of its training or, where it had no step to train, of ``fit``."""
    export, run = Written(), run_of(tmp_path)
    export.on_fit_end(run, module)
    assert export.count == 1
    for count in (2, 3):
        export.on_fit_start(run, module)
        export.on_train_end(run, module)
        export.on_fit_end(run, module)
        assert export.count == count
    export.on_fit_start(run, module)
    export.on_fit_end(run, module)
    assert export.count == 4


def test_nothing_is_written_of_another_kind_of_module(tmp_path: Path) -> None:
    export, run = Written(), run_of(tmp_path)
    export.on_fit_end(run, LightningModule())
    export.on_train_end(run, LightningModule())
    assert not export.count


@pytest.mark.parametrize(
    ("position", "ended"),
    [
        ({"global_step": 3, "max_steps": 3, "current_epoch": 0, "max_epochs": -1}, True),
        ({"global_step": 3, "max_steps": 9, "current_epoch": 2, "max_epochs": 2}, True),
        ({"global_step": 3, "max_steps": -1, "current_epoch": 2, "max_epochs": 2}, True),
        ({"global_step": 3, "max_steps": 9, "current_epoch": 1, "max_epochs": 2}, False),
        ({"global_step": 4, "max_steps": 3, "current_epoch": 1, "max_epochs": -1}, False),
        ({"global_step": 0, "max_steps": 0, "current_epoch": 0, "max_epochs": -1}, False),
        ({"global_step": 0, "max_steps": 9, "current_epoch": 2, "max_epochs": 2}, False),
        ({"global_step": 3, "max_steps": -1, "current_epoch": 0, "max_epochs": 0}, False),
    ],
    ids=str,
)
def test_a_run_without_a_step_writes_only_if_it_went_on_from_its_end(
    position: dict[str, int], ended: bool, module: Any, tmp_path: Path
) -> None:
    export, run = Written(), run_of(tmp_path, **position)
    if ended:
        export.on_fit_end(run, module)
    else:
        with pytest.raises(ConfigurationError, match=f"max_steps {position['max_steps']}"):
            export.on_fit_end(run, module)
    assert export.count == ended


def test_a_run_that_skipped_most_steps_leaves_no_model(module: Any, tmp_path: Path) -> None:
    skipping = SkipNonFiniteSteps()
    skipping.load_state_dict({"skipped": 2, "in_a_row": 1})
    with pytest.raises(DivergenceError):
        ExportFolder(str(tmp_path / "model")).on_train_end(run_of(tmp_path, Callback(), skipping), module)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_leave_no_model(module: Any, tmp_path: Path) -> None:
    for parameter in module.pipeline().unet.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(ModelFolderError, match=r"model.*no checkpoint"):
        ExportFolder(str(tmp_path / "model")).on_train_end(run_of(tmp_path), module)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [True, False])
def test_the_weights_that_were_kept_are_exported_with_their_step_and_values(
    kept: bool, module: Any, tmp_path: Path
) -> None:
    guard = BestUnderConstraints("val/loss", {"val/loss": Constraint(at_most=1.0)}, mode="min")
    guard.selection.consider(2, {"val/loss": 0.25 if kept else 2.0})
    last = {name: value.clone() for name, value in module.pipeline().unet.state_dict().items()}
    if kept:
        guard.weights, guard.values = exported_state(module), {"val/loss": 0.25, "train/loss": 3.0}
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(1)
    ExportFolder(str(tmp_path / "model")).on_train_end(run_of(tmp_path, guard), module)
    stage = stage_of(tmp_path / "model")
    assert (stage["steps"], stage["metrics"]) == ((2, {"val/loss": 0.25}) if kept else (3, {"val/loss": 0.5}))
    assert ("weights" in stage) == kept
    state = written(tmp_path / "model")
    assert all(torch.equal(value, last[name]) for name, value in state.items())
