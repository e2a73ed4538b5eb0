"""Channels that cancel each other in their mean, because one is another upside down, in all of a file or in a part."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Channels whose mean has less than this share of their power cancel each other, almost.
CANCELLED_SHARE = 0.01
#: Seconds of the windows that are looked at, and the share of a file from which those that cancel are reported.
WINDOW, REPORTED_SHARE = 0.5, 0.1
#: Power of channels, of full scale, below which a window is silent (-80 dB).
SILENT_POWER = 1e-8


def kept_power(waveform: Tensor) -> float:
    """Which share of the power of (channels, samples) their mean keeps: 1 for equal channels, 0 in antiphase.

    Offsets, which are no sound, do not count; of a sound that is constant the share is 1.
    """
    power, kept = _powers(waveform)
    return kept / power if power else 1.0


def cancelling_report(waveform: Tensor, sample_rate: int) -> str:
    """What of (channels, samples) the channels' mean lacks, and what to do; empty if it lacks little.

    Args:
        waveform: of all channels.
        sample_rate: in Hz.
    """
    if len(waveform) < 2:
        return ""
    length = max(1, round(WINDOW * sample_rate))
    windows = waveform.split(length, dim=1)
    powers = torch.tensor([_powers(window) for window in windows])
    power, kept = powers.sum(dim=0).tolist()
    if power and kept < CANCELLED_SHARE * power:
        lost = -10 * math.log10(max(kept / power, 1e-12))
        return (
            f"its channels almost cancel each other, their mean is {lost:.0f} dB weaker than they are: keep one of them"
        )
    sizes = torch.tensor([window.shape[1] for window in windows])
    cancelled = (powers[:, 1] < CANCELLED_SHARE * powers[:, 0]) & (powers[:, 0] > SILENT_POWER * sizes)
    samples = int(sizes[cancelled].sum())
    if samples < max(REPORTED_SHARE * waveform.shape[1], length):
        return ""
    first = int(cancelled.nonzero()[0]) * length
    return (
        f"its channels almost cancel each other for {samples / sample_rate:.1f} s of its "
        f"{waveform.shape[1] / sample_rate:.1f} s, from {first / sample_rate:.1f} s on: "
        "their mean lacks the sound there, so keep one of them"
    )


def _powers(waveform: Tensor) -> tuple[float, float]:
    """Sums over samples of the channels' mean power and of their mean's power, both without offsets."""
    waveform = waveform.double()
    sound = waveform - waveform.mean(dim=1, keepdim=True)
    power = sound.square().mean(dim=0).sum().item()
    if power <= 1e-20 * waveform.square().sum().item():  # a constant, up to rounding
        return 0.0, 0.0
    return power, sound.mean(dim=0).square().sum().item()
