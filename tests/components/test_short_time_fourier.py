"""The transform of algorithms that alternate between sound and spectrum, against torch's own."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.components.short_time_fourier import ShortTimeFourier


@pytest.mark.parametrize(("n_fft", "hop_length"), [(64, 16), (64, 10), (32, 12)])
def test_it_is_torchs_transform_of_a_sound_with_silence_around(n_fft: int, hop_length: int) -> None:
    window, frames = torch.hann_window(n_fft), 21
    transform = ShortTimeFourier(window, hop_length, frames)
    spectrum = torch.randn(2, frames, n_fft // 2 + 1, dtype=torch.complex64)
    waveform = transform.waveform(spectrum)
    samples = (frames - 1) * hop_length
    expected = torch.istft(spectrum.transpose(1, 2), n_fft, hop_length, window=window, length=samples)
    torch.testing.assert_close(waveform[:, transform.sound], expected, atol=1e-5, rtol=1e-4)
    again = torch.stft(expected, n_fft, hop_length, window=window, pad_mode="constant", return_complex=True)
    torch.testing.assert_close(transform.spectrum(waveform), again.transpose(1, 2), atol=1e-4, rtol=1e-4)
    outside = torch.cat([waveform[:, : transform.sound.start], waveform[:, transform.sound.stop :]], dim=1)
    assert not outside.any()


def test_gradients_reach_the_spectrum() -> None:
    spectrum = torch.randn(1, 5, 17, dtype=torch.complex128, requires_grad=True)
    transform = ShortTimeFourier(torch.hann_window(32, dtype=torch.float64), 8, 5)
    assert torch.autograd.gradcheck(lambda s: transform.waveform(s), spectrum)
