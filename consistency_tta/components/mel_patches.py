"""Mels as the pictures that autoencoders read: as they are, or folded into patches."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

#: About the mean and the deviation of log-mels, whose range is [-11.5, 2]; patches are normalised by them.
MEAN, DEVIATION = -5.0, 2.5


def to_pictures(mel: Tensor, patch: int) -> Tensor:
    """Mel (B, frames, bins) -> pictures (B, patch ** 2, frames / patch, bins / patch), about of unit size."""
    pictures = mel[:, None]
    return pictures if patch == 1 else pixel_unshuffle((pictures - MEAN) / DEVIATION, patch)


def to_mel(pictures: Tensor, patch: int) -> Tensor:
    """The inverse of :func:`to_pictures`, in float32."""
    pictures = pictures.float()
    return (pictures if patch == 1 else pixel_shuffle(pictures, patch) * DEVIATION + MEAN)[:, 0]
