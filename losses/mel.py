"""Distances between mel spectrograms."""

from __future__ import annotations

from torch import Tensor
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
    """

    noise_weighted = False

    def __init__(self, frames: int = 1) -> None:
        super().__init__()
        if frames < 1:
            raise ConfigurationError(f"expected frames of at least 1, got {frames}")
        self.frames = frames

    def forward(self, out: AudioOutput) -> Tensor:
        """Values (B,), >= 0, in nepers."""
        difference = out.student_mel - out.target_mel
        if self.frames > 1:
            difference = F.avg_pool2d(difference, (self.frames, 1), ceil_mode=True)
        return difference.abs().flatten(1).mean(1)
