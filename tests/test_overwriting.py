"""A trained model or run is not replaced by accident."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consistency_tta.cli import main
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from consistency_tta.training.callbacks.sounds import ExportFolder
from tests.test_cli import distillation_config, write
from tests.training.runs import MAKERS, data, trainer


def test_fast_dev_run_writes_no_model(teacher_folder: Path, tmp_path: Path) -> None:
    run = trainer(tmp_path, fast_dev_run=True, callbacks=[ExportFolder(str(tmp_path / "model"))])
    run.fit(MAKERS["diffusion"](teacher_folder), data())
    assert run.global_step == 1
    assert not (tmp_path / "model").exists()


def test_a_model_that_is_not_finite_is_not_written(teacher_folder: Path, tmp_path: Path) -> None:
    module = MAKERS["diffusion"](teacher_folder)
    export = ExportFolder(str(tmp_path / "model"))
    run = trainer(tmp_path, max_steps=1)
    run.fit(module, data())
    with torch.no_grad():
        for parameter in module.pipeline().unet.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ModelFolderError):
        export.on_train_end(run, module)
    assert not (tmp_path / "model").exists()


def test_a_run_that_skipped_every_step_fails(teacher_folder: Path, tmp_path: Path) -> None:
    module = MAKERS["diffusion"](teacher_folder)
    with torch.no_grad():
        next(module.trainable().parameters()).fill_(float("nan"))
    with pytest.raises(ConfigurationError):
        trainer(tmp_path, max_steps=2).fit(module, data())


@pytest.mark.parametrize("rate", ["inf", "1e10"])
def test_a_learning_rate_beyond_all_reason_ends_in_an_error_without_a_model(
    rate: str, teacher_folder: Path, tmp_path: Path
) -> None:
    config = distillation_config(teacher_folder, tmp_path / "run")
    export = {"class_path": "consistency_tta.training.ExportFolder", "init_args": {"folder": str(tmp_path / "model")}}
    config["trainer"] |= {"callbacks": [export], "max_steps": 4, "limit_val_batches": 0}
    config["model"]["init_args"]["optimization"] = {"learning_rate": float(rate), "warmup_steps": 0}
    with pytest.raises((SystemExit, FloatingPointError)) as error:
        main(["fit", "--config", write(config, tmp_path / "config.yaml")])
    assert not isinstance(error.value, SystemExit) or error.value.code
    assert not (tmp_path / "model").exists()


def test_options_before_the_configuration_are_refused(teacher_folder: Path, tmp_path: Path) -> None:
    config = write(distillation_config(teacher_folder, tmp_path), tmp_path / "config.yaml")
    with pytest.raises(SystemExit, match=r"--trainer\.max_steps"):
        main(["fit", "--trainer.max_steps", "1", "--config", config])


def test_last_without_a_checkpoint_is_refused(teacher_folder: Path, tmp_path: Path) -> None:
    config = write(distillation_config(teacher_folder, tmp_path / "run"), tmp_path / "config.yaml")
    for checkpoint in ("last", "http://127.0.0.1:9/a.ckpt", str(tmp_path)):
        with pytest.raises(SystemExit, match=str(tmp_path) if checkpoint == "last" else checkpoint):
            main(["fit", "--config", config, "--ckpt_path", checkpoint])
