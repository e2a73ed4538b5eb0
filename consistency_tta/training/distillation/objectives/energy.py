"""What objectives of energy share: a space, and the distance of two latents in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from consistency_tta.contracts import Networks, Objective, Schedule, Step
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.objectives.teacher_features import Embedding, TeacherFeatures, latent_values


class EnergyObjective(Objective):
    """Compares latents by powers of Euclidean distances.

    Args:
        features: blocks of the teacher in which distances are taken, their mean over blocks; the latents' own values if
            not given.
        beta: power of the distance.

    Raises:
        ConfigurationError: if beta is not between 0 and 2; at 2 only means would be compared.
    """

    def __init__(self, features: TeacherFeatures | None, beta: float) -> None:
        super().__init__()
        if not 0 < beta < 2:
            raise ConfigurationError(f"expected beta between 0 and 2, both excluded, got {beta}")
        self.features, self.beta = features, beta
        self.needs_teacher = features is not None

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """Look for the teacher's blocks."""
        if self.features is not None:
            self.features.network(networks)

    def embedding(self, step: Step, networks: Networks, one_for_all: bool) -> Embedding:
        """The space of a step; in the teacher's, each row has a t and noise of its own, or all rows have the same."""
        return latent_values if self.features is None else self.features.embedding(step, networks, one_for_all)

    def row_distance(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
        """|one - other|^beta of equal rows (B,), of vectors (B, n) in each space."""
        squared = [(a - b).square().sum(1) for a, b in zip(one, other, strict=True)]
        return self.power(torch.stack(squared)).mean(0)

    def pair_distance(self, one: Sequence[Tensor], other: Sequence[Tensor], further: Tensor) -> Tensor:
        """(|one - other|^2 + further)^(beta / 2) of all pairs of rows (B, B), of vectors (B, n) in each space."""
        squared = [squared_distance(a, b) for a, b in zip(one, other, strict=True)]
        return self.power(torch.stack(squared) + further).mean(0)

    def power(self, squared: Tensor) -> Tensor:
        """The distance to the power of beta, of its square; without a gradient at 0, where the slope is infinite."""
        return squared.clamp_min(1e-12) ** (self.beta / 2)


def squared_distance(one: Tensor, other: Tensor) -> Tensor:
    """|one - other|^2 of all pairs of rows (B, B'), of vectors (B, n) and (B', n)."""
    # Not by matrix products, which lose the digits of small distances.
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist").square()
