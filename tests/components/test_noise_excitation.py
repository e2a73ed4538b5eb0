"""Spectra of noise belong to a sound; flat noise is flatter than white; the mel's filter interpolates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from consistency_tta.components.inverse_stft import InverseSTFT
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.noise_excitation import mel_to_log_magnitude, noise_spectra, periodic_spectrum

WINDOW = torch.hann_window(64)


def sound_of(spectrum: Tensor) -> Tensor:
    """One period, whose first frame comes again after the last."""
    return InverseSTFT(64, 16)(torch.cat([spectrum, spectrum[..., :1]], dim=2))


def magnitude(spectrum: Tensor) -> Tensor:
    return torch.complex(*spectrum.chunk(2, dim=1)).abs()


def test_the_spectrum_of_noise_is_that_of_a_sound() -> None:
    """Which holds for no spectrum whose frames were drawn one by one. Its magnitudes are 1 in root mean square."""
    spectrum = periodic_spectrum(torch.randn(1, 40 * 16), 64, 16)
    again = torch.stft(sound_of(spectrum), 64, 16, window=WINDOW, return_complex=True)
    torch.testing.assert_close(
        torch.cat([again.real, again.imag], dim=1)[..., 3:-4], spectrum[..., 3:-3], atol=1e-4, rtol=0
    )
    assert magnitude(spectrum).square().mean().item() == pytest.approx(1, rel=0.1)


def test_flat_noise_varies_less_than_white_noise_and_repeats_without_a_seam() -> None:
    white, flat = noise_spectra(torch.randn(1, 400 * 16), 64, 16).split(1)
    torch.testing.assert_close(magnitude(flat), torch.ones(1, 33, 400))
    of_sound = magnitude(periodic_spectrum(sound_of(flat), 64, 16)) * WINDOW.norm()
    assert of_sound.std() < 0.6 * magnitude(white).std()
    assert of_sound[..., :4].std() < 0.8 * magnitude(white).std()
    assert sound_of(flat).std().item() == pytest.approx(sound_of(white).std().item(), rel=0.1)


def test_a_mel_gives_the_magnitudes_of_the_noise_that_it_is_of() -> None:
    mel = MelSpectrogram()(0.1 * torch.randn(1, 160000))[0].mean(0)
    weight, bias = mel_to_log_magnitude(64, 16000, 1024, 640, 0.0, 8000.0)
    expected = torch.tensor(0.1).log() + torch.hann_window(640).norm().log()
    assert (weight @ mel + bias - expected).abs().max() < 0.35
    torch.testing.assert_close(weight.sum(1), torch.ones(321))
