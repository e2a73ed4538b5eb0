"""Waveforms of one channel or several."""

from __future__ import annotations

from torch import Tensor

from consistency_tta.runtime.errors import ShapeError


def to_channels(waveform: Tensor, channels: int) -> Tensor:
    """A waveform (B, samples), which is mono, or (B, any channels, samples) as (B, channels, samples).

    A waveform that has the wanted channels is returned unchanged. Otherwise its channels are averaged, and the average
    is repeated in every wanted channel.

    Raises:
        ShapeError: if the waveform has neither two dimensions nor three.
    """
    if waveform.ndim not in (2, 3):
        raise ShapeError(
            f"expected a waveform (B, samples) or (B, channels, samples), got {tuple(waveform.shape)}: add the batch's "
            "dimension"
        )
    if waveform.ndim == 2:
        waveform = waveform[:, None]
    if waveform.shape[1] != channels:
        waveform = (waveform if waveform.shape[1] == 1 else waveform.mean(1, keepdim=True)).expand(-1, channels, -1)
    return waveform


def to_mono(waveform: Tensor) -> Tensor:
    """The mean of the channels (B, samples) of a waveform (B, samples) or (B, channels, samples)."""
    return to_channels(waveform, 1)[:, 0]


def squeeze_mono(waveform: Tensor) -> Tensor:
    """(B, channels, samples) as a :class:`~consistency_tta.contracts.Batch` has it: (B, samples) of one channel."""
    return waveform[:, 0] if waveform.shape[1] == 1 else waveform
