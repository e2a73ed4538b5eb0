"""Distances between the student's and the target's latent."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import huber_loss

from consistency_tta.contracts import DistillationOutput, Loss
from consistency_tta.runtime.errors import ConfigurationError


class LatentL2Loss(Loss):
    """Mean squared difference of latents: the consistency loss of ConsistencyTTA.

    Source: Bai et al., "ConsistencyTTA", 2024, https://arxiv.org/abs/2309.10740, eq. 4.
    """

    def forward(self, out: DistillationOutput) -> Tensor:
        """Values (B,), >= 0."""
        return (out.student_latent - out.target_latent).square().flatten(1).mean(1)


class LatentHuberLoss(Loss):
    """Mean Huber loss of latents, number by number: L2 up to ``delta``, L1 beyond.

    Source: Huber, "Robust Estimation of a Location Parameter", 1964, https://doi.org/10.1214/aoms/1177703732.

    Args:
        delta: where L2 ends. Latents have about unit variance.
    """

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        if delta <= 0:
            raise ConfigurationError(f"expected delta > 0, got {delta}")
        self.delta = delta

    def forward(self, out: DistillationOutput) -> Tensor:
        """Values (B,), >= 0."""
        values = huber_loss(out.student_latent, out.target_latent, reduction="none", delta=self.delta)
        return values.flatten(1).mean(1)


class LatentPseudoHuberLoss(Loss):
    """sqrt(|difference|^2 + c^2) - c over the whole latent: nearly L2 when close, nearly the norm when far.

    A step weighs less where the target is noisy, which lets one learning rate serve all noise levels.

    Source: Song and Dhariwal, "Improved Techniques for Training Consistency Models", 2024,
    https://arxiv.org/abs/2310.14189, eq. 8; c = 0.00054 sqrt(d) for d numbers.

    Args:
        c: where L2 ends; 0.00054 sqrt(d) if not given.
    """

    def __init__(self, c: float | None = None) -> None:
        super().__init__()
        if c is not None and c <= 0:
            raise ConfigurationError(f"expected c > 0, got {c}")
        self.c = c

    def forward(self, out: DistillationOutput) -> Tensor:
        """Values (B,), >= 0; divided by sqrt(d), so that they do not depend on the latent's size."""
        difference = (out.student_latent - out.target_latent).flatten(1)
        root = math.sqrt(difference.shape[1])
        c = 0.00054 * root if self.c is None else self.c
        return ((difference.square().sum(1) + c**2).sqrt() - c) / root
