"""The distillation step: what it queries, what it equals; it can be stopped, resumed and spread over processes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from consistency_tta.contracts import Batch, Conditioning
from consistency_tta.datamodules.synthetic import SyntheticDataModule
from consistency_tta.diffusion.weighting import MinSNR
from consistency_tta.losses import LatentL2Loss, LatentPseudoHuberLoss, MelL2Loss, MultiResolutionSTFTLoss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training import ConsistencyDistillation
from consistency_tta.training.base import Optimization
from consistency_tta.training.randomness import BatchRandomness
from tests.toys import NUM_SAMPLES


def distillation(teacher: Path, **kwargs: Any) -> ConsistencyDistillation:
    settings: dict[str, Any] = {
        "losses": {"latent": LatentL2Loss()},
        "optimization": Optimization(learning_rate=1e-3, warmup_steps=5),
    }
    return ConsistencyDistillation(str(teacher), **(settings | kwargs))


def data(batch_size: int = 4) -> SyntheticDataModule:
    return SyntheticDataModule(num_clips=24, num_val_clips=4, num_samples=NUM_SAMPLES, batch_size=batch_size)


def trainer(folder: Path, **kwargs: Any) -> Trainer:
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "default_root_dir": folder,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
    }
    return Trainer(**(settings | kwargs))


class Recorder(Callback):
    """Notes which clips each step saw and what the loss was."""

    def __init__(self) -> None:
        self.ids: list[list[str]] = []
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.ids.append(batch.ids)
        self.losses.append(float(outputs["loss"]))


def step_inputs(module: ConsistencyDistillation, rows: int) -> tuple[torch.Tensor, Conditioning]:
    z = torch.randn(rows, 4, 8, 4)
    return z, Conditioning(module.embed(Batch(["a tone"] * rows, [""] * rows)), torch.full((rows,), 3.0))


def test_at_s_0_the_target_is_z_0_and_nothing_is_queried(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    asked: list[int] = []
    for network in (module.frozen.teacher, module.target.module):
        network.register_forward_hook(lambda _m, inputs, _out: asked.append(len(inputs[0])))
    z_0, conditioning = step_inputs(module, 3)
    z_t = torch.randn_like(z_0)
    none = torch.empty(0, dtype=torch.long)
    target = module.target_latent(z_0, z_t, torch.full((3,), 60.0), torch.zeros(3), conditioning, none)
    assert torch.equal(target, z_0)
    assert asked == []
    s = torch.tensor([0.0, 500.0, 0.0])
    target = module.target_latent(z_0, z_t, s + 60, s, conditioning, torch.tensor([1]))
    assert torch.equal(target[[0, 2]], z_0[[0, 2]])
    assert not torch.equal(target[1], z_0[1])
    assert set(asked) == {1}  # only the one row


def test_the_student_starts_at_the_teachers_conditional_denoiser(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    z_t, conditioning = step_inputs(module, 2)
    t = torch.tensor([1000.0, 300.0])
    expected = module.frozen.teacher.denoiser(z_t, t, Conditioning(conditioning.text))
    torch.testing.assert_close(module.student(z_t, t, conditioning), expected)


def test_the_student_reads_the_guidance_scale_after_a_step(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder)
    trainer(tmp_path, max_steps=2, enable_checkpointing=False).fit(module, data())
    z_t, conditioning = step_inputs(module, 2)
    t = torch.tensor([1000.0, 300.0])
    other = Conditioning(conditioning.text, torch.full((2,), 0.5))
    assert not torch.allclose(module.student(z_t, t, conditioning), module.student(z_t, t, other), atol=1e-6)


def test_the_top_step_is_pure_noise(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    z_0, epsilon = torch.randn(2, 2, 4, 8, 4)
    z_t = module.noisy(z_0, epsilon, torch.tensor([1000.0, 500.0]))
    sigma = module.schedule.sigma(torch.tensor(1000.0))
    torch.testing.assert_close(z_t[0], sigma * epsilon[0])
    torch.testing.assert_close(z_t[1:], module.schedule.add_noise(z_0[1:], epsilon[1:], torch.tensor([500.0])))


def test_audio_losses_reach_the_student_and_are_exempt_from_noise_weighting(
    teacher_folder: Path, tmp_path: Path
) -> None:
    losses = {"latent": LatentPseudoHuberLoss(), "mel": MelL2Loss(), "stft": MultiResolutionSTFTLoss()}
    module = distillation(
        teacher_folder, losses=losses, loss_weights={"latent": 0.0, "mel": 0.0}, weighting=MinSNR(gamma=1e-9)
    )
    run = trainer(tmp_path, max_steps=2, enable_checkpointing=False)  # warm-up begins at a learning rate of 0
    before = module.student.unet.conv_in.weight.detach().clone()
    run.fit(module, data())
    # A weighting of next to nothing and latent weights of 0 leave the STFT loss alone, unweighted.
    torch.testing.assert_close(run.callback_metrics["train/loss"], run.callback_metrics["train/loss/stft"])
    assert not torch.equal(module.student.unet.conv_in.weight, before)


def test_a_run_that_had_ended_can_be_made_longer(teacher_folder: Path, tmp_path: Path) -> None:
    """Nine steps straight equal four (inside the first epoch), the checkpoint left at the end, and five more."""
    straight, resumed = Recorder(), Recorder()
    module = distillation(teacher_folder)
    again = deepcopy(module)
    trainer(tmp_path, max_steps=9, callbacks=[straight], enable_checkpointing=False).fit(module, data())
    saver = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=100)
    trainer(tmp_path, max_steps=4, callbacks=[saver]).fit(again, data())
    rerun = trainer(tmp_path, max_steps=9, callbacks=[resumed], enable_checkpointing=False)
    rerun.fit(distillation(teacher_folder), data(), ckpt_path=str(tmp_path / "last.ckpt"), weights_only=True)
    assert resumed.ids == straight.ids[4:]
    assert resumed.losses == straight.losses[4:]


def test_resume_is_bit_identical(teacher_folder: Path, tmp_path: Path) -> None:
    """40 steps straight equal 20, and 20 more from a checkpoint inside the fourth epoch (6 steps each)."""
    straight, resumed = Recorder(), Recorder()
    module = distillation(teacher_folder)
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=20, save_top_k=-1)
    run = trainer(tmp_path, max_steps=40, callbacks=[straight, saver])
    run.fit(module, data())

    torch.manual_seed(1234)  # another process would start with another global state
    again = distillation(teacher_folder)
    rerun = trainer(tmp_path, max_steps=40, callbacks=[resumed], enable_checkpointing=False)
    rerun.fit(again, data(), ckpt_path=str(tmp_path / "step=20.ckpt"), weights_only=True)

    assert resumed.ids == straight.ids[20:]
    assert resumed.losses == straight.losses[20:]
    assert len({tuple(ids) for ids in straight.ids}) > 30
    expected, got = module.state_dict(), again.state_dict()
    assert expected.keys() == got.keys()
    for prefix in ("student.", "target.", "average."):
        assert any(key.startswith(prefix) for key in expected)
    for key, value in expected.items():
        assert torch.equal(value, got[key]), key
    for name, state in run.optimizers[0].state_dict()["state"].items():
        for key, value in state.items():
            assert torch.equal(value, rerun.optimizers[0].state_dict()["state"][name][key]), (name, key)
    assert run.lr_scheduler_configs[0].scheduler.state_dict() == rerun.lr_scheduler_configs[0].scheduler.state_dict()


def test_checkpoints_hold_what_is_trained_only(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder)
    run = trainer(tmp_path, max_steps=1)
    run.fit(module, data())
    run.save_checkpoint(tmp_path / "it.ckpt")
    checkpoint = torch.load(tmp_path / "it.ckpt", weights_only=True)
    assert {key.split(".")[0] for key in checkpoint["state_dict"]} == {"student", "target", "average"}
    loaded = ConsistencyDistillation.load_from_checkpoint(
        tmp_path / "it.ckpt", losses={"latent": LatentL2Loss()}, weights_only=True
    )
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in module.state_dict().items())


def test_two_ranks_draw_what_one_process_with_twice_the_batch_draws() -> None:
    def draws(rank: int, world_size: int, batch_size: int) -> tuple[torch.Tensor, ...]:
        randomness = BatchRandomness(7, 2, 5, torch.device("cpu"), rank, world_size)
        example = torch.empty(batch_size, 3, 2)
        return (
            randomness.normal_like(example),
            randomness.integers(18, batch_size),
            randomness.uniform(batch_size),
            randomness.normal_like(example),
        )

    whole = draws(0, 1, 6)
    for rank in range(2):
        for part, all_rows in zip(draws(rank, 2, 3), whole, strict=True):
            assert torch.equal(part, all_rows[rank::2])
    assert not torch.equal(whole[0], whole[3])


def test_a_guidance_scale_may_be_fixed(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder, guidance_scale=3.0)
    seen = []
    module.student.register_forward_hook(lambda _m, inputs, _out: seen.append(inputs[2].guidance_scale))
    trainer(tmp_path, max_steps=1, enable_checkpointing=False).fit(module, data())
    assert torch.equal(seen[0], torch.full((4,), 3.0))


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_students_of_every_prediction_type_survive_export(
    prediction_type: str, teacher_folder: Path, tmp_path: Path
) -> None:
    module = distillation(teacher_folder, prediction_type=prediction_type)
    trainer(tmp_path, max_steps=2, enable_checkpointing=False).fit(module, data())
    module.pipeline().save_pretrained(tmp_path / "student")
    loaded = TextToAudioPipeline.from_pretrained(tmp_path / "student").denoiser
    z_t, conditioning = step_inputs(module, 2)
    t = torch.tensor([1000.0, 300.0])
    torch.testing.assert_close(loaded(z_t, t, conditioning), module.average.module(z_t, t, conditioning))
    raw = loaded.predict(z_t, t, conditioning)
    assert torch.equal(raw, loaded(z_t, t, conditioning)) == (prediction_type == "sample")


def test_wrong_settings_are_named(teacher_folder: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'latent'"):
        distillation(teacher_folder, loss_weights={"latnet": 1.0})
    with pytest.raises(ValueError, match="at least one loss"):
        distillation(teacher_folder, losses={})
    with pytest.raises(ValueError, match="range"):
        distillation(teacher_folder, guidance_scale=(3.0, 1.0))
    with pytest.raises(ValueError, match="puts out v_prediction"):
        distillation(teacher_folder, prediction_type="epsilon")
    with pytest.raises(ValueError, match="num_steps of at least 2"):
        distillation(teacher_folder, num_steps=1)
