"""Sounds on a page, each with its spectrogram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from consistency_tta.reporting.axes import Axes, mel_axes
from consistency_tta.reporting.data_uri import audio_uri
from consistency_tta.reporting.spectrogram import spectrogram_uri
from consistency_tta.reporting.table import Cell


@dataclass(frozen=True)
class Player:
    """A sound with its spectrogram.

    Attributes:
        heading: shown above.
        label: what the sound is, for screen readers.
        seconds: length.
        address: of the sound.
        picture: address of the spectrogram.
        axes: of the spectrogram.
    """

    heading: Cell
    label: str
    seconds: float
    address: str
    picture: str
    axes: Axes


def make_player(
    heading: Cell,
    label: str,
    waveform: Tensor,
    sample_rate: int,
    mel: Tensor,
    front_end: Mapping[str, Any],
    high: float,
) -> Player:
    """The player of a waveform.

    Args:
        heading, label: see :class:`Player`.
        waveform: (samples,) in [-1, 1].
        sample_rate: in Hz.
        mel: (frames, bins), its log-mel spectrogram.
        front_end: see :func:`~consistency_tta.reporting.axes.mel_axes`.
        high: see :func:`~consistency_tta.reporting.spectrogram.spectrogram_uri`.
    """
    return Player(
        heading=heading,
        label=label,
        seconds=len(waveform) / sample_rate,
        address=audio_uri(waveform, sample_rate),
        picture=spectrogram_uri(mel, high),
        axes=mel_axes(front_end, len(mel)),
    )
