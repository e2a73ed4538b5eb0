"""Steps of an objective by itself, on latents of a known distribution: no module, no trainer, float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from consistency_tta.contracts import Batch, Conditioning, Denoiser, Step, TextEmbedding
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.schedules import NoiseSchedule
from consistency_tta.training.step_rng import StepRNG


def conditioning(mean: Tensor, rows: int, guidance_scale: float = 1.0) -> Conditioning:
    """A caption of one token, which tells a ``GaussianDenoiser`` its mean (C,)."""
    text = TextEmbedding(mean.expand(rows, 1, -1), torch.ones(rows, 1, dtype=torch.bool))
    return Conditioning(text, mean.new_full((rows,), guidance_scale))


def gaussian_step(
    schedule: NoiseSchedule, z_0: Tensor, condition: Conditioning, number: int = 0, **options: Any
) -> Step:
    """A step on clean latents (B, C, *).

    Args:
        schedule: of the noise.
        z_0: clean latents.
        condition: of the captions.
        number: of the step, from which all draws follow.
        **options: further fields of :class:`Step`.
    """
    rows = len(z_0)

    def add_noise(latent: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        top = expand(t == schedule.num_train_timesteps, latent)
        return torch.where(top, schedule.prior(epsilon), schedule.add_noise(latent, epsilon, t))

    fields: dict[str, Any] = {
        "batch": Batch(["a tone"] * rows, [str(row) for row in range(rows)]),
        "clean_latent": z_0,
        "schedule": schedule,
        "rng": StepRNG(0, 0, number, torch.device("cpu")),
        "global_step": number,
        "training": True,
        "active": frozenset({"student"}),
        "condition": lambda: condition,
        "add_noise": add_noise,
    }
    return Step(**(fields | options))


class AffineStudent(Denoiser):
    """One query: z_0 = shift + scale z_t, each (C,) per channel, whatever t is."""

    def __init__(self, schedule: NoiseSchedule, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.schedule = schedule
        self.shift, self.scale = torch.nn.Parameter(shift.clone()), torch.nn.Parameter(scale.clone())

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """z_0 (B, C, *)."""
        shape = (1, -1) + (1,) * (z_t.ndim - 2)
        return self.shift.view(shape) + self.scale.view(shape) * z_t
