"""Training on short spans of clips, cut at random places."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from consistency_tta.contracts import Randomness
from consistency_tta.runtime.errors import ConfigurationError


def check_crop_frames(crop_frames: int, downsampling: int, whole: int | None = None) -> None:
    """Raise if so many mel frames cannot be cut out.

    Args:
        crop_frames: 0 for none.
        downsampling: by which the autoencoder shrinks time.
        whole: the frames of a clip, where they are known.
    """
    if crop_frames % downsampling or crop_frames < 0 or (whole is not None and crop_frames > whole):
        most = "" if whole is None else f", and at most {whole}, the frames of a clip"
        raise ConfigurationError(
            f"expected crop_frames to be a multiple of {downsampling}, by which the autoencoder shrinks time{most}, "
            f"got {crop_frames}"
        )


def random_starts(rng: Randomness, batch_size: int, whole: int, length: int) -> list[int]:
    """Where spans of ``length`` begin in clips of ``whole``, one per example; 0 where a clip is no longer."""
    return (rng.uniform(batch_size) * max(1, whole - length + 1)).long().tolist()


def spans(clips: Tensor, starts: Sequence[int], length: int) -> Tensor:
    """(B, n, ...) -> (B, length, ...), from each example's own start."""
    return torch.stack([clip[start : start + length] for clip, start in zip(clips, starts, strict=True)])
