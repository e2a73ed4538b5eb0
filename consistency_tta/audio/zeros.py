"""Zeros in the place of sound, as copies that stopped and files with holes have them, and clips that were padded."""

from __future__ import annotations

import torch
from torch import Tensor

#: Share of a sound, and seconds, from which zeros in a row are reported.
SHARE, SECONDS = 1 / 3, 0.5


def longest_zeros(waveform: Tensor) -> tuple[int, int]:
    """Where the longest row of samples that are exactly 0 begins in a waveform (samples,), and its length."""
    ends = torch.tensor([-1, len(waveform)])
    others = torch.cat([ends[:1], waveform.nonzero()[:, 0].cpu(), ends[1:]])
    length, at = (others.diff() - 1).max(dim=0)
    return int(others[at]) + 1, int(length)


def zeros_report(waveform: Tensor, sample_rate: int) -> str:
    """How much of a waveform (samples,) is zeros in a row, and what to do; empty if it is little."""
    start, length = longest_zeros(waveform)
    if length < max(SHARE * len(waveform), SECONDS * sample_rate):
        return ""
    return (
        f"{length / sample_rate:.2f} s of its {len(waveform) / sample_rate:.2f} s, from {start / sample_rate:.2f} s "
        "on, are zeros: cut them if they are padding; if a copy stopped there, fetch the file again"
    )
