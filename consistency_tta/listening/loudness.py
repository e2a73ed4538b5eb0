"""Loudness of one channel by ITU-R BS.1770-4.

    Recommendation ITU-R BS.1770-4, "Algorithms to measure audio programme loudness and true-peak audio level", 2015,
    https://www.itu.int/rec/R-REC-BS.1770, Annex 1

The sound goes through a shelf (the head) and a high-pass filter. With z_j the mean square of the j-th block of 400 ms
(one every 100 ms) and l_j = -0.691 + 10 lg z_j, the loudness is that of the mean of the z_j that lie above -70 and
above the loudness of these, less 10.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from consistency_tta.audio.resample import Resample

#: The rate for which the Recommendation gives its filters, in Hz.
SAMPLE_RATE = 48000
#: (b_0, b_1, b_2), (1, a_1, a_2): tables 1 and 2 of Annex 1.
SHELF = (1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)
HIGH_PASS = (1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)
OFFSET = -0.691
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0
BLOCK, HOP = 400 * SAMPLE_RATE // 1000, 100 * SAMPLE_RATE // 1000


def integrated_loudness(waveform: Tensor, sample_rate: int) -> float:
    """Loudness of (samples,) in LUFS; minus infinity where no block is above -70.

    A sound shorter than a block is measured as if silence followed it.

    Args:
        waveform: in [-1, 1].
        sample_rate: in Hz.
    """
    filtered = k_weighted(Resample(sample_rate, SAMPLE_RATE)(waveform.double()))
    filtered = torch.nn.functional.pad(filtered, (0, max(0, BLOCK - len(filtered))))
    power = filtered.unfold(0, BLOCK, HOP).square().mean(dim=1)
    power = power[level(power) > ABSOLUTE_GATE]
    if not len(power):
        return -math.inf
    return level(power[level(power) > level(power.mean()) + RELATIVE_GATE].mean()).item()


def level(power: Tensor) -> Tensor:
    """LUFS of mean squares."""
    return OFFSET + 10 * power.log10()


def k_weighted(waveform: Tensor) -> Tensor:
    """(samples,) at 48 kHz through both filters.

    By their frequency response: in half a second of zeros the impulse response runs out.
    """
    length = len(waveform) + SAMPLE_RATE // 2
    spectrum = torch.fft.rfft(waveform, n=length)
    for numerator, denominator in (SHELF, HIGH_PASS):
        response = [
            torch.fft.rfft(torch.tensor(taps, dtype=waveform.dtype), n=length) for taps in (numerator, denominator)
        ]
        spectrum = spectrum * response[0] / response[1]
    return torch.fft.irfft(spectrum, n=length)[: len(waveform)]
