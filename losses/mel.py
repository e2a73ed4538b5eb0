"""Distances between mel spectrograms."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from consistency_tta.contracts import AudioOutput, Loss
from consistency_tta.runtime.errors import ConfigurationError


class MelL2Loss(Loss):
    """Mean squared difference of log-mel spectrograms.

    Source: Bai et al., "ConsistencyTTA", 2024, https://arxiv.org/abs/2309.10740, section 3.4 (there .3 of it with .7 of
    the latent loss).
    """

    noise_weighted = False

    def forward(self, out: AudioOutput) -> Tensor:
        """Values (B,), >= 0, in squared nepers."""
        return (out.student_mel - out.target_mel).square().flatten(1).mean(1)


class MelL1Loss(Loss):
    """Mean absolute difference of log-mel spectrograms; HiFi-GAN's reconstruction loss.

    Source: Kong et al., "HiFi-GAN", 2020, https://arxiv.org/abs/2010.05646, eq. 5.

    Args:
        frames: mean over so many frames before mels are compared. What no network can predict, the randomness of noise,
            averages out, and what it can, such as the harmonics of an engine, is left.
        front_end: computes mels (B, frames, bins) of waveforms (B, samples), such as ones with a shorter window; the
            model's mels if not given.
    """

    noise_weighted = False

    def __init__(self, frames: int = 1, front_end: nn.Module | None = None) -> None:
        super().__init__()
        if frames < 1:
            raise ConfigurationError(f"expected frames of at least 1, got {frames}")
        self.frames = frames
        self.front_end = front_end

    def forward(self, out: AudioOutput) -> Tensor:
        """Values (B,), >= 0, in nepers."""
        made, wanted = mels_of(out, self.front_end)
        difference = made - wanted
        if self.frames > 1:
            difference = F.avg_pool2d(difference, (self.frames, 1), ceil_mode=True)
        return difference.abs().flatten(1).mean(1)


def mels_of(out: AudioOutput, front_end: nn.Module | None) -> tuple[Tensor, Tensor]:
    """The student's and the target's mels (B, frames, bins): the model's own, or a front end's of their waveforms."""
    if front_end is None:
        return out.student_mel, out.target_mel
    made = front_end(out.student_waveform)
    with torch.no_grad():
        return made, front_end(out.target_waveform)
