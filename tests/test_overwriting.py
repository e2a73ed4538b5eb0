"""A trained model or run is not replaced by accident."""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from consistency_tta.cli import main
from consistency_tta.export import export
from consistency_tta.runtime.errors import ConfigurationError, DivergenceError, ModelFolderError
from consistency_tta.training import ExportFolder
from consistency_tta.training.checkpoint_search import newest_checkpoint
from consistency_tta.training.job_checkpoint import new_job_checkpoint
from tests.test_cli import distillation_config, write
from tests.training.jobs import SLURM
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


def weights(folder: Path) -> bytes:
    return next(folder.glob("unet/*.safetensors")).read_bytes()


def fit(teacher: Path, root: Path, steps: int, resume: Path | None = None, export: bool = True, **options: Any) -> None:
    """A run in a version folder of its own, as the recipes'."""
    callbacks: list[Any] = [ModelCheckpoint(every_n_train_steps=1, save_last=True)]
    callbacks += [ExportFolder(str(root / "model"))] * export
    logger = CSVLogger(root, **options)
    run = trainer(root, max_steps=steps, logger=logger, callbacks=callbacks, enable_checkpointing=True)
    run.fit(MAKERS["diffusion"](teacher), data(), ckpt_path=resume, weights_only=True)


def test_a_repeated_and_a_continued_run_keep_every_model(teacher_folder: Path, tmp_path: Path) -> None:
    seen = []
    for steps, last in ((1, False), (2, False), (3, True)):
        fit(teacher_folder, tmp_path, steps, newest_checkpoint(tmp_path) if last else None)
        seen.append(weights(tmp_path / "model"))
    own = [weights(tmp_path / "lightning_logs" / f"version_{number}" / "model") for number in range(3)]
    assert own == seen
    assert len(set(seen)) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"lightning_logs", "model"}


def test_runs_that_share_a_folder_keep_every_model(teacher_folder: Path, tmp_path: Path) -> None:
    for steps in (1, 2):
        fit(teacher_folder, tmp_path, steps, version=7)
        if steps == 1:
            first = weights(tmp_path / "model")
    folder = tmp_path / "lightning_logs" / "version_7"
    assert weights(folder / "model") == weights(tmp_path / "model") != first
    assert weights(tmp_path / "model.1") == first


def test_a_model_takes_the_place_of_no_file_and_of_no_folder_with_the_run_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    run = trainer(tmp_path / "runs", logger=CSVLogger(tmp_path / "runs"))
    for folder in ("", ".", "mine.yaml", "runs", "runs/lightning_logs", "runs/lightning_logs/version_0", "/"):
        with pytest.raises(ConfigurationError, match=f"got {folder or 'nothing'},"):
            ExportFolder(folder).on_fit_start(run, None)  # type: ignore[arg-type]
    for folder in ("runs/model", "runs/lightning_logs/version_0/model", "model"):
        ExportFolder(folder).on_fit_start(run, None)  # type: ignore[arg-type]


def test_a_run_killed_before_its_export_writes_the_model_when_it_goes_on(teacher_folder: Path, tmp_path: Path) -> None:
    fit(teacher_folder, tmp_path, 2, export=False)
    fit(teacher_folder, tmp_path, 2, newest_checkpoint(tmp_path))
    fit(teacher_folder, tmp_path / "other", 2)
    assert weights(tmp_path / "model") == weights(tmp_path / "other" / "model")
    for steps, checkpoint in ((1, newest_checkpoint(tmp_path)), (0, None)):
        with pytest.raises(ConfigurationError, match=str(steps)):
            fit(teacher_folder, tmp_path / "third", steps, checkpoint)
    assert not (tmp_path / "third" / "model").exists()


@pytest.mark.parametrize(
    ("ends", "written"), [({"max_epochs": 1}, True), ({"max_steps": 9, "limit_train_batches": 0}, False)]
)
def test_a_run_that_cannot_go_on_writes_a_model_only_at_its_end(
    ends: dict[str, Any], written: bool, teacher_folder: Path, tmp_path: Path
) -> None:
    first = trainer(tmp_path, max_epochs=1)
    first.fit(MAKERS["diffusion"](teacher_folder), data(num_clips=4))
    first.save_checkpoint(tmp_path / "a.ckpt")
    run = trainer(tmp_path, callbacks=[ExportFolder(str(tmp_path / "model"))], **ends)
    with nullcontext() if written else pytest.raises(ConfigurationError):
        run.fit(MAKERS["diffusion"](teacher_folder), data(num_clips=4), ckpt_path=tmp_path / "a.ckpt")
    assert (tmp_path / "model").exists() == written


def test_export_refuses_a_folder_that_has_a_model(teacher_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    run = trainer(tmp_path, max_steps=1)
    run.fit(MAKERS["diffusion"](teacher_folder), data())
    run.save_checkpoint(file)
    content = torch.load(file, weights_only=True)
    settings = {"_class_path": "consistency_tta.training.LatentDiffusion", "teacher": str(teacher_folder)}
    torch.save(content | {"hyper_parameters": settings}, file)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=str(tmp_path / "model")):
        export(file, tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["model_index.json"]


def test_a_run_that_skipped_every_step_fails(teacher_folder: Path, tmp_path: Path) -> None:
    module = MAKERS["diffusion"](teacher_folder)
    with torch.no_grad():
        next(module.trainable().parameters()).fill_(float("nan"))
    with pytest.raises(DivergenceError):
        trainer(tmp_path, max_steps=2).fit(module, data())


@pytest.mark.parametrize("rate", ["inf", "1e10"])
def test_a_learning_rate_beyond_all_reason_ends_in_an_error_without_a_model(
    rate: str, teacher_folder: Path, tmp_path: Path
) -> None:
    config = distillation_config(teacher_folder, tmp_path / "run")
    export = {"class_path": "consistency_tta.training.ExportFolder", "init_args": {"folder": str(tmp_path / "model")}}
    config["trainer"] |= {"callbacks": [export], "max_steps": 4, "limit_val_batches": 0}
    config["model"]["init_args"]["optimization"] = {"learning_rate": float(rate), "warmup_steps": 0}
    with pytest.raises(SystemExit) as error:
        main(["fit", "--config", write(config, tmp_path / "config.yaml")])
    assert error.value.code
    assert not (tmp_path / "model").exists()


def test_lightnings_tuners_are_refused_in_one_line(teacher_folder: Path, tmp_path: Path) -> None:
    config = write(distillation_config(teacher_folder, tmp_path / "run"), tmp_path / "config.yaml")
    with pytest.raises(SystemExit, match=r"--model\.optimization\.learning_rate") as error:
        main(["fit", "--config", config, "--trainer.callbacks", "lightning.pytorch.callbacks.LearningRateFinder"])
    assert "Traceback" not in str(error.value)


def test_two_callbacks_with_one_state_are_refused_in_one_line(teacher_folder: Path, tmp_path: Path) -> None:
    config = write(distillation_config(teacher_folder, tmp_path / "run"), tmp_path / "config.yaml")
    twice = "[ModelCheckpoint, {class_path: ModelCheckpoint, init_args: {filename: mine}}]"
    with pytest.raises(SystemExit, match="ModelCheckpoint"):
        main(["fit", "--config", config, "--trainer.callbacks", twice, "--trainer.enable_checkpointing", "true"])


def test_options_before_the_configuration_are_refused(teacher_folder: Path, tmp_path: Path) -> None:
    config = write(distillation_config(teacher_folder, tmp_path), tmp_path / "config.yaml")
    with pytest.raises(SystemExit, match=r"--trainer\.max_steps"):
        main(["fit", "--trainer.max_steps", "1", "--config", config])


def test_last_without_a_checkpoint_is_refused(teacher_folder: Path, tmp_path: Path) -> None:
    config = write(distillation_config(teacher_folder, tmp_path / "run"), tmp_path / "config.yaml")
    for checkpoint in ("last", "http://127.0.0.1:9/a.ckpt", str(tmp_path)):
        with pytest.raises(SystemExit, match=str(tmp_path) if checkpoint == "last" else checkpoint):
            main(["fit", "--config", config, "--ckpt_path", checkpoint])


def test_a_run_in_a_named_folder_keeps_the_log_of_the_run_before(teacher_folder: Path, tmp_path: Path) -> None:
    settings = distillation_config(teacher_folder, tmp_path, max_steps=1, limit_val_batches=0)
    config = write(settings, tmp_path / "config.yaml")
    for seed in ("1", "2"):
        main(["fit", "--config", config, "--trainer.logger.version", "3", "--seed_everything", seed])
    folder = tmp_path / "lightning_logs" / "version_3"
    assert {file.name for file in folder.iterdir()} >= {"metrics.csv", "metrics.csv.1", "config.yaml", "config.yaml.1"}
    assert "seed_everything: 1" in (folder / "config.yaml.1").read_text()
    assert "seed_everything: 2" in (folder / "config.yaml").read_text()


@pytest.mark.parametrize("option", ["--trainer.max_steps=0", "--model.loss_weights={latent: 0}"])
def test_a_run_that_trains_nothing_fails_and_leaves_nothing(option: str, teacher_folder: Path, tmp_path: Path) -> None:
    settings = distillation_config(teacher_folder, tmp_path / "run", max_steps=1, limit_val_batches=0)
    with pytest.raises(SystemExit, match="trained"):
        main(["fit", "--config", write(settings, tmp_path / "a.yaml"), option])
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name != "run"]


def test_a_job_goes_on_from_its_own_runs_checkpoint_alone(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = distillation_config(teacher_folder, tmp_path, limit_val_batches=0, enable_checkpointing=True)
    fit = ["fit", "--config", write(settings, tmp_path / "a.yaml"), "--trainer.max_steps"]
    first = main([*fit, "1"])
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    own = new_job_checkpoint(tmp_path, first.settings_digest)
    shutil.copy(first.trainer.checkpoint_callback.best_model_path, own)
    assert main([*fit, "2"]).trainer.ckpt_path == str(own)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert main([*fit, "1"]).trainer.ckpt_path is None


def test_auto_begins_anew_or_goes_on(teacher_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Launch files name it, whose workers may be the first or started again."""
    elsewhere = {"class_path": "ModelCheckpoint", "init_args": {"dirpath": str(tmp_path / "disk")}}
    settings = distillation_config(
        teacher_folder, tmp_path / "run", enable_checkpointing=True, callbacks=[elsewhere], limit_val_batches=0
    )
    config = write(settings, tmp_path / "config.yaml")
    caplog.set_level(logging.INFO)
    for steps, found in ((2, "no checkpoint below"), (3, "step=2.ckpt")):
        run = main(["fit", "--config", config, "--trainer.max_steps", str(steps), "--ckpt_path", "auto"])
        assert run.trainer.global_step == steps
        assert found in caplog.text
    other = ["--trainer.max_steps", "4", "--model.optimization.learning_rate", "0.002"]
    main(["fit", "--config", config, *other, "--ckpt_path", "auto"])
    assert "model.optimization.learning_rate: 0.001 -> 0.002" in caplog.text
    for damaged in (tmp_path / "disk").iterdir():
        damaged.write_bytes(b"torn")
    with pytest.raises(SystemExit, match="that are damaged"):
        main(["fit", "--config", config, "--ckpt_path", "auto"])
