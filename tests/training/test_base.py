"""What all trainings have in common."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from consistency_tta.components.reward_lineage import EncoderFingerprint, RewardLineage
from consistency_tta.contracts import Optimization
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import CheckpointError, DataError, ModelFolderError
from consistency_tta.training.base import TrainingModule
from tests.toys import NUM_SAMPLES
from tests.training.runs import MAKERS, Losses, batch, data, equal, snapshot, trainer

#: What load_from_checkpoint is given again, because no checkpoint holds it.
OBJECTS: dict[str, tuple[str, ...]] = {
    "autoencoder": ("vae", "mel"),
    "vocoder": ("vocoder",),
    "adversarial_vocoder": ("vocoder",),
    "refinement": (),
    "diffusion": (),
    "guidance": ("objective",),
    "distillation": ("objective",),
}


def trained(module: TrainingModule) -> dict[str, nn.Parameter]:
    """The parameters of every network in training."""
    return {
        f"{name}.{key}": parameter
        for name, learner in module.learners().items()
        for key, parameter in learner.module.named_parameters()
    }


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", list(MAKERS))
def test_every_weight_is_trained_in_every_precision(
    name: str, precision: Any, teacher_folder: Path, tmp_path: Path
) -> None:
    """DistributedDataParallel stops at a weight that has no gradient."""
    module = MAKERS[name](teacher_folder)
    before = {key: value.clone() for key, value in trained(module).items()}
    run = trainer(tmp_path, max_steps=3, precision=precision, limit_val_batches=1, gradient_clip_val=1.0)
    run.fit(module, data())
    assert run.callback_metrics["train/loss"].isfinite()
    for key, parameter in trained(module).items():
        assert parameter.grad is not None, key
        assert parameter.dtype == torch.float32
    still = {key for key, parameter in trained(module).items() if not parameter.grad.any()}
    run.validate(module, data(), verbose=False)
    assert run.callback_metrics["val/loss"].isfinite()
    unchanged = {key for key, value in trained(module).items() if torch.equal(value, before[key])}
    # Inside the hinge's margins, recordings and sounds pull at a discriminator's last bias with exactly equal force.
    balanced = {key for key in unchanged if "discriminator" in key and key.endswith(".bias")}
    assert unchanged == balanced & still


@pytest.mark.parametrize("name", ["vocoder", "refinement", "diffusion", "guidance", "distillation"])
def test_a_model_says_what_its_folder_said(name: str, teacher_folder: Path, tmp_path: Path) -> None:
    """Where its sounds end, which encoders it was trained to please, and by which trainings it was made."""
    rewards = RewardLineage((EncoderFingerprint("earlier", ()),), complete=True)
    folder = TextToAudioPipeline.from_pretrained(teacher_folder)
    folder.register_to_config(rewards=rewards.to_dict(), audio_length_in_s=0.25, training=[{"steps": 7}])
    folder.save_pretrained(tmp_path)
    module = MAKERS[name](tmp_path)
    config = module.pipeline().config
    assert (RewardLineage.from_dict(config["rewards"]), config["audio_length_in_s"]) == (rewards, 0.25)
    assert list(module.earlier_stages) == [{"steps": 7}]


@pytest.mark.parametrize("name", list(MAKERS))
def test_the_average_that_is_exported_is_warmed_up(name: str, teacher_folder: Path) -> None:
    assert MAKERS[name](teacher_folder).average.warm_up  # type: ignore[union-attr]


@pytest.mark.parametrize("name", list(MAKERS))
def test_checkpoints_are_small_safe_and_load_into_the_class(name: str, teacher_folder: Path, tmp_path: Path) -> None:
    module = MAKERS[name](teacher_folder)
    run = trainer(tmp_path, max_steps=2)
    run.fit(module, data())
    run.save_checkpoint(tmp_path / "it.ckpt")
    assert not [key for key, value in module.hparams.items() if isinstance(value, nn.Module)]
    other = MAKERS[name](teacher_folder)
    given = {key: getattr(other, key) for key in OBJECTS[name]}
    if hasattr(other, "losses"):
        given["losses"] = {key: other.losses[key] for key in other.losses.weights}
    loaded = type(module).load_from_checkpoint(tmp_path / "it.ckpt", weights_only=True, **given)
    assert equal(dict(loaded.state_dict()), dict(module.state_dict()))
    assert not any(key.startswith("frozen") for key in module.state_dict())


@pytest.mark.parametrize("name", list(MAKERS))
def test_it_resumes_bit_by_bit(name: str, teacher_folder: Path, tmp_path: Path) -> None:
    straight, half, resumed = (MAKERS[name](teacher_folder, seed=0) for _ in range(3))
    for other in (half, resumed):
        other.load_state_dict(straight.state_dict())
    trainer(tmp_path, max_steps=6).fit(straight, data())
    first = trainer(tmp_path, max_steps=3)
    first.fit(half, data())
    first.save_checkpoint(tmp_path / "half.ckpt")
    trainer(tmp_path, max_steps=6).fit(resumed, data(), ckpt_path=tmp_path / "half.ckpt")
    assert equal(dict(resumed.state_dict()), dict(straight.state_dict()))


def test_no_training_goes_on_from_weights_that_are_not_finite(teacher_folder: Path, tmp_path: Path) -> None:
    run = trainer(tmp_path, max_steps=1)
    module = MAKERS["diffusion"](teacher_folder)
    run.fit(module, data())
    name, weight = next(iter(module.named_parameters()))
    with torch.no_grad():
        weight.view(-1)[0] = math.nan
    run.save_checkpoint(tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError, match=rf"bad\.ckpt.*{name}"):
        trainer(tmp_path, max_steps=3).fit(MAKERS["diffusion"](teacher_folder), data(), ckpt_path=tmp_path / "bad.ckpt")


def test_gradients_are_freed_before_the_next_forward_pass(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, kept = MAKERS["diffusion"](teacher_folder), []
    loss = module.loss

    def noted(*args: Any) -> torch.Tensor:
        kept.append(any(parameter.grad is not None for parameter in module.parameters()))
        return loss(*args)

    monkeypatch.setattr(module, "loss", noted)
    trainer(tmp_path, max_steps=2, accumulate_grad_batches=2).fit(module, data())
    assert kept == [False, True, False, True]


def test_validations_of_a_run_in_pieces_are_all_logged(teacher_folder: Path, tmp_path: Path) -> None:
    """At every tenth step, which is no multiple of an epoch, of checkpoints that are taken there and elsewhere."""
    rows: list[str] = []
    last, checkpoint = tmp_path / "last.ckpt", None
    for steps in (7, 13, 20, 30):
        logger = CSVLogger(tmp_path, "csv", flush_logs_every_n_steps=10)
        saving = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=5, enable_version_counter=False)
        settings: dict[str, Any] = {"check_val_every_n_epoch": None, "val_check_interval": 10, "limit_val_batches": 1}
        settings |= {"logger": logger, "log_every_n_steps": 2, "enable_checkpointing": True, "callbacks": [saving]}
        trainer(tmp_path, max_steps=steps, **settings).fit(
            MAKERS["refinement"](teacher_folder), data(), ckpt_path=checkpoint
        )
        checkpoint = last
        with (Path(logger.log_dir) / "metrics.csv").open() as file:
            rows += [row["step"] for row in csv.DictReader(file) if row.get("val/loss")]
    assert rows == ["9", "19", "29"]


def test_validation_is_repeatable_and_leaves_training_alone(teacher_folder: Path, tmp_path: Path) -> None:
    def fit(**kwargs: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
        module, losses = MAKERS["diffusion"](teacher_folder), Losses()
        run = trainer(tmp_path, max_steps=9, callbacks=[losses], **kwargs)
        run.fit(module, data())
        state = snapshot(module, run)
        first = trainer(tmp_path, limit_val_batches=1).validate(module, data(), verbose=False)
        torch.manual_seed(99)
        assert trainer(tmp_path, limit_val_batches=1).validate(module, data(), verbose=False) == first
        assert first[0]["val/loss"] > 0
        return losses.values, state

    with_validation = fit(limit_val_batches=1, val_check_interval=2)
    without = fit()
    assert with_validation[0] == without[0]
    assert equal(with_validation[1], without[1])


def test_all_validations_of_all_runs_draw_the_same(teacher_folder: Path, tmp_path: Path) -> None:
    """Nothing is learnt here: whatever differs between the epochs of a run, or between seeds, would be the draws."""

    class Validations(Callback):
        losses: ClassVar[list[float]] = []

        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.losses.append(float(trainer.callback_metrics["val/loss"]))

    for seed in (0, 1):
        module = MAKERS["diffusion"](teacher_folder, optimization=Optimization(learning_rate=0.0), seed=seed)
        trainer(tmp_path, max_epochs=2, limit_val_batches=1, callbacks=[Validations()]).fit(module, data(num_clips=4))
    assert len(Validations.losses) == 4
    assert len(set(Validations.losses)) == 1


def learning_rates(teacher: Path, folder: Path, **settings: Any) -> list[float]:
    module = MAKERS["diffusion"](teacher, optimization=Optimization(learning_rate=1e-3, **settings))
    run = trainer(folder, max_steps=8)
    run.fit(module, data(num_clips=8))
    scheduler = run.lr_scheduler_configs[0].scheduler
    return [scheduler.lr_lambdas[0](step) for step in range(9)]


def test_cosine_ends_at_zero_at_the_last_step(teacher_folder: Path, tmp_path: Path) -> None:
    rates = learning_rates(teacher_folder, tmp_path, schedule="cosine", warmup_steps=2)
    expected = [0, 0.5] + [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(7)]
    assert rates == pytest.approx(expected)


def test_constant_after_warm_up(teacher_folder: Path, tmp_path: Path) -> None:
    assert learning_rates(teacher_folder, tmp_path, warmup_steps=4) == pytest.approx(
        [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    )
    assert learning_rates(teacher_folder, tmp_path) == [1] * 9


def test_the_optimizer_has_the_settings_and_the_trained_weights_alone(teacher_folder: Path, tmp_path: Path) -> None:
    optimization = Optimization(learning_rate=2e-3, weight_decay=0.1, betas=(0.8, 0.9))
    module = MAKERS["distillation"](teacher_folder, optimization=optimization)
    run = trainer(tmp_path, max_steps=1)
    run.fit(module, data())
    (group,) = run.optimizers[0].param_groups
    assert (group["lr"], group["weight_decay"], group["betas"]) == (2e-3, 0.1, (0.8, 0.9))
    assert {id(p) for p in group["params"]} == {id(p) for p in module.student.parameters()}


def test_prediction_makes_the_same_sounds_every_time(teacher_folder: Path, tmp_path: Path) -> None:
    module = MAKERS["distillation"](teacher_folder)
    first, again = (trainer(tmp_path).predict(module, data()) for _ in range(2))
    assert first[0].shape == (4, NUM_SAMPLES)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0][0], first[0][1])
    incomplete = MAKERS["autoencoder"](teacher_folder)
    with pytest.raises(ModelFolderError, match="vocoder"):
        trainer(tmp_path).predict(incomplete, data())


def test_testing_logs_under_its_own_name(teacher_folder: Path, tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.test(MAKERS["vocoder"](teacher_folder), data(), verbose=False)
    assert {"test/loss", "test/loss/mel"} <= run.callback_metrics.keys()


def test_batches_without_sound_or_moments_are_named(teacher_folder: Path, tmp_path: Path) -> None:
    class Silent(type(data())):  # type: ignore[misc]
        def collate(self, examples: list[Any]) -> Any:
            made = super().collate(examples)
            made.waveform = None
            return made

    silent = Silent(num_clips=4, num_val_clips=4, num_samples=NUM_SAMPLES)
    for name in MAKERS:
        with pytest.raises(DataError):
            trainer(tmp_path, max_steps=1).fit(MAKERS[name](teacher_folder), silent)


def test_previews_show_each_clip(teacher_folder: Path, tmp_path: Path) -> None:
    for name, make in MAKERS.items():
        module = make(teacher_folder)
        with torch.no_grad():
            previews = module.previews(batch(2))
        made_of_text = name in ("diffusion", "guidance", "distillation")
        assert [preview.name for preview in previews] == (batch(2).captions if made_of_text else batch(2).ids)
        for preview in previews:
            assert preview.mel.shape == (32, 16)
            assert (preview.waveform is None) == (name == "autoencoder")
            assert preview.waveform is None or preview.waveform.shape == (NUM_SAMPLES,)
