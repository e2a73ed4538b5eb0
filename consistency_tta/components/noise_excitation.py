"""Noise to be filtered: spectra of white and of flat noise, and the filter that a mel spectrogram gives."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from consistency_tta.components.inverse_stft import InverseSTFT


def periodic_spectrum(noise: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """White noise (B, samples) that repeats itself -> (B, n_fft + 2, samples / hop_length) real, then imaginary parts.

    Divided by the window's norm, so that magnitudes are 1 in root mean square.
    """
    window = torch.hann_window(n_fft, dtype=noise.dtype, device=noise.device)
    around = torch.cat([noise[:, -(n_fft // 2) :], noise, noise[:, : n_fft // 2]], dim=1)
    spectrum = torch.stft(around, n_fft, hop_length, window=window, center=False, return_complex=True) / window.norm()
    return torch.cat([spectrum.real, spectrum.imag], dim=1)[..., : noise.shape[1] // hop_length]


def noise_spectra(white: Tensor, n_fft: int, hop_length: int, iterations: int = 16) -> Tensor:
    """Spectra (2, n_fft + 2, frames) of white noise (1, samples), and of one whose magnitudes are 1 nearly everywhere.

    The second is found by Griffin and Lim's algorithm (see
    :class:`~consistency_tta.components.griffin_lim.GriffinLimVocoder`).
    """
    spectrum = periodic_spectrum(white, n_fft, hop_length)
    inverse, flat = InverseSTFT(n_fft, hop_length), unit_magnitude(spectrum)
    reach = inverse.reach
    for _ in range(iterations):
        around = torch.cat([flat[..., -reach:], flat, flat[..., : reach + 1]], dim=2)
        waveform = inverse(around)[:, reach * hop_length :][:, : white.shape[1]]
        flat = unit_magnitude(periodic_spectrum(waveform, n_fft, hop_length))
    return torch.cat([spectrum, flat])


def unit_magnitude(spectrum: Tensor) -> Tensor:
    """Real, then imaginary parts (B, 2 F, frames), divided by their magnitudes."""
    real, imag = spectrum.chunk(2, dim=1)
    magnitude = (real.square() + imag.square()).clamp_min(1e-12).sqrt()
    return spectrum / magnitude.repeat(1, 2, 1)


def mel_to_log_magnitude(
    n_mels: int, sampling_rate: int, mel_n_fft: int, n_fft: int, f_min: float, f_max: float
) -> tuple[Tensor, Tensor]:
    """Weight (F, bins) and bias (F,) that make log magnitudes of noise of a natural-log mel: lines between its bins."""
    filters = torch.as_tensor(
        mel_filter_bank(mel_n_fft // 2 + 1, n_mels, f_min, f_max, sampling_rate, norm="slaney", mel_scale="slaney")
    ).float()
    frequency = torch.linspace(0, sampling_rate / 2, mel_n_fft // 2 + 1, dtype=torch.float32)
    total = filters.sum(0).clamp_min(1e-8)
    centre = (frequency @ filters) / total
    wanted = torch.linspace(0, sampling_rate / 2, n_fft // 2 + 1, dtype=torch.float32)
    above = torch.searchsorted(centre, wanted).clamp(1, n_mels - 1)
    share = ((wanted - centre[above - 1]) / (centre[above] - centre[above - 1]).clamp_min(1e-6)).clamp(0, 1)
    rows = torch.arange(len(wanted))
    weight = torch.zeros(len(wanted), n_mels, dtype=torch.float32)
    weight[rows, above - 1], weight[rows, above] = 1 - share, share
    # Noise grows with the norm of the window, the root of its length.
    return weight, 0.5 * math.log(n_fft / mel_n_fft) - weight @ total.log()
