"""Loss inputs without networks."""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import AudioOutput, Batch, DistillationOutput


class Sounds(AudioOutput):
    """Given sounds and mels."""

    sample_rate = 16000

    def __init__(self, **given: Tensor) -> None:
        self.__dict__.update(given)


def latents(student: Tensor, target: Tensor) -> DistillationOutput:
    """An output with these latents (B, C, T, F) and no decoder."""
    t = torch.full((len(student),), 500.0)
    batch = Batch(["a dog"] * len(student), ["id"] * len(student))
    return DistillationOutput(student, target, target, t, t - 100, t * 0, batch, decoder=None)  # type: ignore[arg-type]
