"""The inverse STFT in real numbers equals torch's, and gives back the sound whose spectrum it gets."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.components.inverse_stft import InverseSTFT
from consistency_tta.runtime.errors import ConfigurationError


def spectrum_of(waveform: torch.Tensor, n_fft: int, hop_length: int) -> torch.Tensor:
    return torch.stft(waveform, n_fft, hop_length, window=torch.hann_window(n_fft), return_complex=True)


@pytest.mark.parametrize("use_fft", [False, True])
@pytest.mark.parametrize(("n_fft", "hop_length"), [(640, 160), (1024, 200), (64, 32), (64, 17)])
def test_it_equals_torch_istft_for_any_spectrum(n_fft: int, hop_length: int, use_fft: bool) -> None:
    """Also for one that no sound has, which the overlap-add projects onto those of sounds."""
    spectrum = torch.randn(2, n_fft // 2 + 1, 21, dtype=torch.complex64)
    expected = torch.istft(spectrum, n_fft, hop_length, window=torch.hann_window(n_fft))
    inverse = InverseSTFT(n_fft, hop_length)
    inverse.use_fft = use_fft
    made = inverse(torch.cat([spectrum.real, spectrum.imag], dim=1))
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("n_fft", "hop_length"), [(640, 160), (1024, 200)])
def test_a_sound_is_reconstructed(n_fft: int, hop_length: int) -> None:
    waveform = torch.randn(2, 12 * hop_length)
    spectrum = spectrum_of(waveform, n_fft, hop_length)
    made = InverseSTFT(n_fft, hop_length)(torch.cat([spectrum.real, spectrum.imag], dim=1))
    torch.testing.assert_close(made, waveform, atol=1e-5, rtol=0)


@pytest.mark.parametrize("use_fft", [False, True])
def test_cast_to_float64_it_computes_in_it(use_fft: bool) -> None:
    spectrum = torch.randn(1, 66, 5)
    plain, cast = InverseSTFT(64, 16), InverseSTFT(64, 16).double()
    cast.use_fft = use_fft
    assert cast(spectrum).dtype == torch.float64
    torch.testing.assert_close(cast(spectrum).float(), plain(spectrum), atol=1e-5, rtol=0)


def test_cast_to_half_precision_it_computes_in_float32() -> None:
    spectrum = torch.randn(1, 66, 5)
    plain, cast = InverseSTFT(64, 16), InverseSTFT(64, 16).to(torch.bfloat16)
    assert torch.equal(cast(spectrum), plain(spectrum))


@pytest.mark.parametrize(("n_fft", "hop_length"), [(63, 16), (64, 33), (64, 0)])
def test_lengths_out_of_range(n_fft: int, hop_length: int) -> None:
    with pytest.raises(ConfigurationError, match=str(hop_length)):
        InverseSTFT(n_fft, hop_length)
