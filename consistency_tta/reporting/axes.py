"""Ticks around the pictures of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers.audio_utils import hertz_to_mel

#: A position on an axis, from 0, left or bottom, to 1, and its label.
Tick = tuple[float, str]


@dataclass(frozen=True)
class Axes:
    """The ticks of a picture.

    Attributes:
        x, y: ticks; the first label has the unit.
    """

    x: Sequence[Tick]
    y: Sequence[Tick]


def mel_axes(front_end: Mapping[str, Any], frames: int, hertz: Sequence[int] = (500, 1000, 2000, 4000)) -> Axes:
    """Seconds and Hz of a mel spectrogram on Slaney's scale.

    Args:
        front_end: ``f_min``, ``f_max`` and ``sample_rate`` in Hz, ``hop_length`` in samples, and ``n_mels``.
        frames: length of the spectrogram.
        hertz: frequencies to mark; those outside the front end's range are left out.
    """
    low, high = (hertz_to_mel(front_end[name], "slaney") for name in ("f_min", "f_max"))
    # Bin i is centred on point i + 1 of bins + 2 equally spaced ones, and drawn from i to i + 1.
    bins = front_end["n_mels"]
    step = (high - low) / (bins + 1)
    positions = {f: ((hertz_to_mel(f, "slaney") - low) / step - 0.5) / bins for f in hertz}
    seconds = frames * front_end["hop_length"] / front_end["sample_rate"]
    marked = range(int(seconds) + 1) if seconds >= 2 else [quarter / 4 for quarter in range(int(seconds * 4) + 1)]
    return Axes(
        x=[(second / seconds, f"{second:g}" if second else "0 s") for second in marked],
        y=[(y, f"{f / 1000:g}k" if f >= 1000 else f"{f} Hz") for f, y in positions.items() if 0 <= y <= 1],
    )


def linear_axis(values: np.ndarray) -> tuple[np.ndarray, list[Tick]]:
    """Positions of values (N,) on an axis, from 0 to 1, and ticks at round numbers."""
    low, high = float(values.min()), float(values.max())
    step = round_up((high - low) / 4) if high > low else 1.0
    low, high = step * np.floor(low / step), step * np.ceil(high / step + 1e-9)
    high = high if high > low else low + step
    ticks = np.arange(low, high + step / 2, step)
    return (values - low) / (high - low), [((tick - low) / (high - low), f"{tick:.3g}") for tick in ticks.tolist()]


def round_up(value: float) -> float:
    """The next larger round number."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(
        next(step for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * power >= value * (1 - 1e-9)) * power
    )
