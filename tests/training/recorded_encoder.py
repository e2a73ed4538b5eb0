"""Distillations with losses of sound, and a loss that keeps what it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from consistency_tta.contracts import DistillationOutput, Loss
from consistency_tta.losses import LatentL2Loss, MelL2Loss
from tests.training.runs import distillation


class AudioEmbedding(Loss):
    """Keeps what losses of sound are given; touches everything that can be decoded."""

    noise_weighted = False

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[DistillationOutput] = []

    def forward(self, out: DistillationOutput) -> Tensor:
        self.seen.append(out)
        difference = out.student_waveform - out.target_waveform
        return difference.square().mean(1) + 0 * out.reference_waveform.mean(1)


def with_decoder(folder: Path, **kwargs: Any) -> Any:
    losses = {"latent": LatentL2Loss(), "mel": MelL2Loss()}
    return distillation(folder, **({"losses": losses, "train_decoder": True} | kwargs))


def weights(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
