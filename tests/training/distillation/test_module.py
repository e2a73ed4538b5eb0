"""What the module itself does around an objective: averages, gradients, guidance, LoRA's scale, predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from consistency_tta.contracts import Networks, Objective, Prediction, Step
from consistency_tta.diffusion.solve import DDIM
from consistency_tta.diffusion.weighting import Uniform
from consistency_tta.losses import LatentL2Loss, MelL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.guided import guided
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import LoRA
from consistency_tta.training.distillation import module as distillation_module
from consistency_tta.training.distillation.lora import merged
from tests.training.recorded_encoder import AudioEmbedding as Outputs
from tests.training.runs import adversary, batch, data, distil, distillation, in_training, rng, trainer


class Weights(Callback):
    """The student's first convolution after each step."""

    def __init__(self) -> None:
        self.values: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.values.append(pl_module.student.unet.conv_in.weight.detach().clone())


def test_both_averages_follow_with_their_own_decay(teacher_folder: Path, tmp_path: Path) -> None:
    module, weights = distillation(teacher_folder, target_ema_decay=0.7, ema_decay=0.2), Weights()
    target = average = module.student.unet.conv_in.weight.detach().clone()
    trainer(tmp_path, max_steps=4, callbacks=[weights]).fit(module, data())
    for step, value in enumerate(weights.values, start=1):
        target = 0.7 * target + 0.3 * value
        decay = min(0.2, step / (step + 9))  # warmed up
        average = decay * average + (1 - decay) * value
    torch.testing.assert_close(module.target.module.unet.conv_in.weight, target)
    torch.testing.assert_close(module.average.module.unet.conv_in.weight, average)


def test_no_gradient_goes_through_the_target(teacher_folder: Path, tmp_path: Path) -> None:
    outputs = Outputs()
    module = in_training(distillation(teacher_folder, losses={"latent": outputs}), tmp_path)
    module.target.module.requires_grad_(True)
    module.loss(batch(4), rng())
    [out] = outputs.seen
    assert (out.s > 0).any()  # the target network was queried
    assert out.student_latent.requires_grad
    assert not out.target_latent.requires_grad


def test_the_distance_is_to_the_guided_teacher(teacher_folder: Path, tmp_path: Path) -> None:
    # The toy hardly reads captions, so that only a large w shows.
    module = distillation(teacher_folder, guidance_scale=300.0, teacher_steps=3, solver=DDIM())
    module = in_training(module, tmp_path)
    module.trainer.training = False
    step = module.step(batch(4), rng())
    found = module.objective.metrics(step, module.networks(averaged=True))["teacher_distance"]

    again = rng()  # the same draws, in the same order
    epsilon = again.normal_like(module.latents(batch(4), again))
    teacher = TextToAudioPipeline.from_pretrained(teacher_folder)
    teacher.set_progress_bar_config(disable=True)
    ends = {w: teacher.sample(batch(4).captions, w, 3, DDIM(), latents=epsilon)[0].flatten(1) for w in (1.0, 300.0)}
    top = torch.full((4,), 1000.0)
    with torch.no_grad():
        student = module.average.module(module.schedule.prior(epsilon), top, step.conditioning).flatten(1)
    distances = {w: ((student - end).norm(dim=1) / end.norm(dim=1)).mean() for w, end in ends.items()}
    torch.testing.assert_close(found, distances[300.0])
    assert float(found) != pytest.approx(float(distances[1.0]), rel=1e-3)


def test_guidance_scales_are_drawn_uniformly_from_the_range(teacher_folder: Path, tmp_path: Path) -> None:
    module = in_training(distillation(teacher_folder, guidance_scale=(2.0, 5.0)), tmp_path)
    w = torch.cat([module.step(batch(16), rng(k)).conditioning.guidance_scale for k in range(20)])
    assert w.shape == (320,)
    assert ((w >= 2) & (w <= 5)).all()
    quartiles = torch.tensor([2.75, 3.5, 4.25])  # of a uniform distribution; five standard errors of 320 draws
    torch.testing.assert_close(w.quantile(torch.tensor([0.25, 0.5, 0.75])), quartiles, atol=0.42, rtol=0)


class LatentsAsTargets(Objective):
    """One query at the top time; the target is the clean latent. It has neither a teacher nor a target network."""

    needs_teacher = False
    weighting = Uniform()

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """Needs the student alone."""
        assert networks.teacher is None
        z_0, top = step.clean_latent, torch.full((len(step),), 1000.0)
        z_t = step.add_noise(z_0, step.rng.normal_like(z_0), top)
        return Prediction(networks.student(z_t, top, step.conditioning), z_0, z_0, top, top)


def test_an_objective_without_a_teacher_builds_none(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    monkeypatch.setattr(distillation_module, "guided", lambda parts: built.append(parts) or guided(parts))
    module = distil(LatentsAsTargets, teacher_folder)
    trainer(tmp_path, max_steps=1).fit(module, data())
    assert built == []
    assert module.target is None
    assert not hasattr(module.frozen, "teacher")
    distillation(teacher_folder)
    assert len(built) == 1


def test_an_adapter_is_scaled_by_alpha_over_rank(teacher_folder: Path) -> None:
    module = distillation(teacher_folder, lora=LoRA(rank=2, alpha=6.0, target_modules=("to_q",)))
    name, layer = next((n, m) for n, m in module.student.unet.named_modules() if n.endswith("to_q"))
    a, b = layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight
    torch.nn.init.normal_(b)
    expected = layer.base_layer.weight.detach() + 6.0 / 2 * b.detach() @ a
    torch.testing.assert_close(merged(module.student.unet).get_submodule(name).weight.detach(), expected)


def test_prediction_merges_adapters_once(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(unet: Any) -> Any:
        calls.append(unet)
        return merged(unet)

    monkeypatch.setattr(distillation_module, "merged", counted)
    module = distillation(teacher_folder, lora=LoRA(rank=2))
    sounds = data(batch_size=2)
    sounds.val_batch_size = 2
    assert len(trainer(tmp_path).predict(module, sounds)) == 2
    assert len(calls) == 1
    assert not hasattr(module, "predictor")


def test_the_posteriors_log_variance_is_clamped_as_diffusers_does(teacher_folder: Path) -> None:
    codec = distillation(teacher_folder).frozen.codec
    for log_variance, clamped in ((100.0, 20.0), (-100.0, -30.0), (2.0, 2.0)):
        moments = torch.cat([torch.zeros(1, 4, 8, 4), torch.full((1, 4, 8, 4), log_variance)], dim=1)
        unit = codec.moments_to_latent(torch.cat([torch.ones(1, 4, 8, 4), torch.zeros(1, 4, 8, 4)], dim=1))
        latent = codec.moments_to_latent(moments, torch.ones(1, 4, 8, 4))
        torch.testing.assert_close(latent, unit * torch.tensor(clamped / 2).exp(), atol=0, rtol=1e-5)


def test_a_student_learns_against_a_discriminator_of_its_sound(teacher_folder: Path, tmp_path: Path) -> None:
    """Beyond CLAP: the discriminator learns with the student, is saved, and takes no part in validation."""
    losses = {"latent": LatentL2Loss(), "adversary": adversary()}
    module = distillation(teacher_folder, losses=losses, crop_frames=16)
    before = [parameter.detach().clone() for parameter in losses["adversary"].parameters()]
    run = trainer(tmp_path, max_steps=2, val_check_interval=2, limit_val_batches=1, gradient_clip_val=1.0)
    run.fit(module, data())
    assert all(not torch.equal(old, new) for old, new in zip(before, losses["adversary"].parameters(), strict=True))
    assert {"train/loss/adversary", "train/loss/adversary/discriminator"} <= run.callback_metrics.keys()
    assert "val/loss/latent" in run.callback_metrics
    assert not any("adversary" in name for name in run.callback_metrics if name.startswith("val/"))
    assert any("discriminator" in name for name in module.state_dict())


def test_steps_on_random_crops(teacher_folder: Path, tmp_path: Path) -> None:
    """All networks see one of the lengths; validation sees whole clips; the model makes sounds of the short length."""
    module, frames = distillation(teacher_folder, crop_lengths=(4, 8)), []
    module.student.unet.register_forward_pre_hook(lambda _, inputs: frames.append(inputs[0].shape[2]))
    trainer(tmp_path, max_steps=6).fit(module, data())
    assert set(frames) == {4, 8}
    in_training(module, tmp_path).trainer.training = False
    frames.clear()
    assert module.step(batch(2), rng()).clean_latent.shape[2] == 8
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    pipeline = module.pipeline()
    assert pipeline("a tone", latents=noise).latent.shape == noise.shape


def test_crops_are_for_losses_of_latents(teacher_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="sound"):
        distillation(teacher_folder, crop_lengths=(4,), losses={"sound": MelL2Loss()})
    with pytest.raises(ConfigurationError, match="16"):
        distillation(teacher_folder, crop_lengths=(16,))
