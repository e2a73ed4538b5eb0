"""Kaldi's mel filters, on which AudioSet's networks were trained."""

from __future__ import annotations

import torch
from torch import Tensor


def kaldi_mel_filters(num_bins: int, fft_size: int, sample_rate: int, low: float, high: float) -> Tensor:
    """Kaldi's triangular mel filters: triangles in mel, not in Hz, each of height 1.

    Args:
        num_bins: number of filters.
        fft_size: points of the Fourier transform.
        sample_rate: in Hz.
        low: lower edge of the lowest filter in Hz.
        high: upper edge of the highest filter in Hz.

    Returns:
        (fft_size // 2 + 1, num_bins) in [0, 1], float32.

    Source: Daniel Povey et al., "The Kaldi Speech Recognition Toolkit", 2011, https://kaldi-asr.org,
    mel-computations.h; mel(f) = 1127 ln(1 + f / 700).
    """

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    low_mel, high_mel = mel(torch.tensor([low, high], dtype=torch.float64)).tolist()
    step = (high_mel - low_mel) / (num_bins + 1)
    centres = low_mel + step * torch.arange(1, num_bins + 1, dtype=torch.float64)
    frequencies = torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size)
    return (1 - (mel(frequencies)[:, None] - centres).abs() / step).clamp_min(0).float()
