"""Training on short spans of clips, cut at random places."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from consistency_tta.contracts import Randomness
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.step_rng import StepRNG


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


def check_crop_lengths(lengths: Sequence[int], multiple: int | None, whole: int) -> None:
    """Raise if a network cannot be trained on crops of so many latent frames.

    Args:
        lengths: in latent frames; none for no crops.
        multiple: of which numbers of frames must be; None for a network of a fixed number.
        whole: the frames of a clip.
    """
    if not lengths:
        return
    if multiple is None:
        raise ConfigurationError(f"expected no crop_lengths: the network takes {whole} frames, got {list(lengths)}")
    if any(length % multiple or not 0 < length <= whole for length in lengths):
        raise ConfigurationError(
            f"expected crop_lengths that are multiples of {multiple}, by which the network shrinks time, and at most "
            f"{whole}, the latent frames of a clip, got {list(lengths)}"
        )


def crop_latents(z_0: Tensor, lengths: Sequence[int], rng: StepRNG) -> Tensor:
    """Latents (B, C, T, *) cut to one of the lengths, each from its own random place.

    The length is a function of the seed and the position in training, alike on all processes.
    """
    length = lengths[rng.entropy % len(lengths)]
    starts = random_starts(rng, len(z_0), z_0.shape[2], length)
    return spans(z_0.transpose(1, 2), starts, length).transpose(1, 2)
