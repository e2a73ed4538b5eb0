"""Distances between mel spectrograms."""

from __future__ import annotations

from torch import Tensor

from consistency_tta.contracts import AudioOutput, Loss


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
    """

    noise_weighted = False

    def forward(self, out: AudioOutput) -> Tensor:
        """Values (B,), >= 0, in nepers."""
        return (out.student_mel - out.target_mel).abs().flatten(1).mean(1)
