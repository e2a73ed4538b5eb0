"""The CPU and the accelerator compute the same in float32: generation, and one step of each training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from consistency_tta import TextToAudioPipeline
from consistency_tta.contracts import Batch
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.step_rng import StepRNG
from tools.gpu_check.runner import Row, Setting, passed
from tools.gpu_check.trainings import BUNDLED, tiny

CAPTIONS = ["A dog barks", "Rain is falling"]
#: The largest relative differences that float32 explains: of latents, of sounds behind a vocoder that divides by
#: magnitudes, of losses, and of all gradients together.
LATENT, SOUND, LOSS, GRADIENT = 1e-3, 5e-2, 1e-3, 2e-2


@dataclass(frozen=True)
class DrawsOnCPU(StepRNG):
    """The draws of a step, made on the CPU for every device."""

    def normal_like(self, example: Tensor) -> Tensor:
        """See :meth:`StepRNG.normal_like`."""
        return torch.randn(example.shape, generator=self.cpu).to(self.device)


def generation(setting: Setting) -> Iterator[Row]:
    """Latents and sounds of the bundled models from the same noise."""
    _exact()
    for name, steps in [("tiny-student", 1), ("tiny-teacher", 10)][: 1 if setting.quick else 2]:
        results = []
        for device in ("cpu", setting.device):
            pipeline = TextToAudioPipeline.from_pretrained(name).to(device)
            noise = torch.randn(len(CAPTIONS), *pipeline.latent_shape, generator=torch.Generator().manual_seed(0))
            output = pipeline(CAPTIONS, num_inference_steps=steps, latents=noise.to(device))
            results.append((output.latent.cpu(), output.waveform.cpu()))
        latent, sound = (relative_difference(*pair) for pair in zip(*results, strict=True))
        text = f"latents differ by {latent:.1e}, sounds by {sound:.1e}"
        yield passed(f"generation, {name}", latent < LATENT and sound < SOUND, text, latent=latent, sound=sound)


def steps(setting: Setting) -> Iterator[Row]:
    """Loss and gradients of one step of every recipe of the tiny family."""
    _exact()
    for stage in ("guidance",) if setting.quick else BUNDLED:
        training = tiny(stage)
        batch = training.batch(1 if setting.quick else 2)
        expected = loss_and_gradients(training.module, batch, torch.device("cpu"))
        got = loss_and_gradients(training.module, batch, torch.device(setting.device))
        loss, gradient = (relative_difference(one, other) for one, other in zip(expected, got, strict=True))
        text = f"loss differs by {loss:.1e}, gradients by {gradient:.1e}"
        yield passed(f"step, {stage}", loss < LOSS and gradient < GRADIENT, text, loss=loss, gradient=gradient)


def loss_and_gradients(module: TrainingModule, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """The loss of a batch (1,) and all its gradients (parameters,), on the CPU."""
    module.trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    module.trainer.training = True
    module.log_losses = lambda losses, batch_size: None  # type: ignore[method-assign]  # Lightning logs in its loop
    # In evaluation mode: each device has its own random numbers for dropout.
    module.to(device).eval().zero_grad(set_to_none=True)
    moved = module.transfer_batch_to_device(batch, device, 0)
    torch.manual_seed(0)
    loss = module.loss(moved, DrawsOnCPU(0, 0, 0, device))
    loss.backward()
    gradients = [p.grad.flatten().cpu() for p in module.parameters() if p.grad is not None]
    return loss.detach().reshape(1).cpu(), torch.cat(gradients)


def relative_difference(one: Tensor, other: Tensor) -> float:
    """The norm of the difference, relative to the first one's."""
    return float((one.double() - other.double()).norm() / one.double().norm().clamp_min(1e-12))


def _exact() -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
