"""TANGO's augmentation: the sum of two clips, and a caption that names both.

    D. Ghosal et al., "Text-to-Audio Generation using Instruction-Tuned LLM and Latent Diffusion Model", 2023,
    https://arxiv.org/abs/2304.13731, "Augmentation"
    Y. Tokozume et al., "Learning from Between-class Examples for Deep Sound Recognition", ICLR 2018,
    https://arxiv.org/abs/1711.10282, mixing method

With G the A-weighted sound pressure level of a clip in dB and r = 1/2 the wanted share, the mixture is

    p = 1 / (1 + 10^((G_1 - G_2) / 20) (1 - r) / r),    x = (p x_1 + (1 - p) x_2) / sqrt(p^2 + (1 - p)^2),

which gives both the same perceived loudness, here normalised again to the clips' peak.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

#: Levels do not fall below this, in dB, for frequencies and for windows.
MIN_DECIBEL = -80.0


@lru_cache(maxsize=8)
def a_weighting(sample_rate: int, n_fft: int) -> Tensor:
    """The A-weighting curve of IEC 61672 in dB, (n_fft // 2 + 1,), at the frequencies of a Fourier transform.

    Args:
        sample_rate: in Hz.
        n_fft: length of the transform.
    """
    squared = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64).square().clamp(min=1e-3)
    amplitude = 12194.0**2 * squared.square()
    amplitude /= (squared + 20.6**2) * (squared + 12194.0**2)
    amplitude /= ((squared + 107.7**2) * (squared + 737.9**2)).sqrt()
    return (2.0 + 20 * amplitude.log10()).clamp(min=MIN_DECIBEL).float()


def loudness(waveform: Tensor, sample_rate: int) -> float:
    """A-weighted level in dB of the loudest window (about 0.1 s) of (samples,), or of the mean of (channels, samples).

    Its zero is arbitrary.
    """
    waveform = waveform if waveform.ndim == 1 else waveform.mean(0)
    n_fft = 2 ** round(math.log2(0.11 * sample_rate))  # 2048 at 16 kHz, 4096 at 44.1 kHz, as published
    waveform = torch.nn.functional.pad(waveform, (0, max(0, n_fft - len(waveform))))
    windows = waveform.unfold(0, n_fft, n_fft // 2) * torch.hann_window(n_fft, device=waveform.device)
    power = torch.fft.rfft(windows).abs().square() * 10 ** (a_weighting(sample_rate, n_fft) / 10)
    return max(MIN_DECIBEL, 10 * math.log10(power.sum(dim=1).max().item() + 1e-30))


def mix_waveforms(first: Tensor, second: Tensor, sample_rate: int, peak: float = 0.5) -> Tensor:
    """Two clips of one length as one, equally loud, with the given peak.

    Args:
        first: (samples,) or (channels, samples), not silent.
        second: of the same shape, not silent.
        sample_rate: in Hz.
        peak: the largest magnitude of the result.

    Returns:
        Of the same shape. Should the clips cancel out (one is the other upside down), the first alone.
    """
    gain = 10 ** ((loudness(first, sample_rate) - loudness(second, sample_rate)) / 20)
    share = 1 / (1 + gain)
    mixture = share * first + (1 - share) * second
    if mixture.abs().max() < 1e-3 * share * first.abs().max():
        mixture = first
    return mixture * (peak / mixture.abs().max())


def mix_captions(first: str, second: str) -> str:
    """Two captions as one: "A dog barks." and "A rooster crows." make "A dog barks and a rooster crows"."""
    first, second = (caption.strip().rstrip(".").rstrip() for caption in (first, second))
    word = second.split(maxsplit=1)[0] if second else ""
    # "TV", "DJs" and "I" keep their capital; a proper name looks like a first word.
    if word.split("'")[0] != "I" and not any(letter.isupper() for letter in word[1:]):
        second = second[:1].lower() + second[1:]
    return f"{first} and {second}"
