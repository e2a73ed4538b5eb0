"""The mel front end against transformers' and against Slaney's formula."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from consistency_tta.components.mel import MelSpectrogram, full_band_mel
from consistency_tta.runtime.errors import ConfigurationError, ShapeError


def slaney_mel(frequency: float) -> float:
    """Slaney's scale: linear below 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    if frequency < 1000:
        return frequency * 3 / 200
    return 15 + 27 * math.log(frequency / 1000) / math.log(6.4)


def test_equals_transformers_spectrogram() -> None:
    waveform = 0.1 * torch.randn(2, 8000)
    waveform[1, 2000:] = 0  # down to the floor
    reference = [
        spectrogram(
            one.double().numpy(),
            window_function(1024, "hann"),
            frame_length=1024,
            hop_length=160,
            power=1.0,
            mel_filters=mel_filter_bank(513, 64, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney"),
            mel_floor=1e-5,
            log_mel="log",
        ).T[:50]
        for one in waveform
    ]
    mel = MelSpectrogram()(waveform)
    assert mel.shape == (2, 50, 64)
    np.testing.assert_allclose(mel.numpy(), np.stack(reference), atol=1e-4)
    assert mel.min() == pytest.approx(math.log(1e-5))


@pytest.mark.parametrize("frequency", [300.0, 1234.0, 5000.0])
def test_a_tone_peaks_in_its_bin_of_slaneys_scale(frequency: float) -> None:
    mel = MelSpectrogram()(torch.sin(2 * math.pi * frequency * torch.arange(16000) / 16000)[None])
    centres = np.linspace(0, slaney_mel(8000), 66)[1:-1]
    expected = np.abs(centres - slaney_mel(frequency)).argmin()
    assert abs(int(mel[0, 50].argmax()) - expected) <= 1  # filters at most two bins wide, normalised by area


@pytest.mark.parametrize("num_samples", [513, 1599, 1600, 1601, 16000])
def test_a_frame_for_each_whole_hop(num_samples: int) -> None:
    assert MelSpectrogram(n_mels=16)(torch.randn(1, num_samples)).shape == (1, num_samples // 160, 16)


def test_gradients_are_finite_at_silence_and_reach_sound() -> None:
    waveform = torch.zeros(2, 4000)
    waveform[1] = 0.1 * torch.randn(4000)
    waveform.requires_grad_(True)
    MelSpectrogram()(waveform).square().sum().backward()
    assert waveform.grad is not None
    assert waveform.grad.isfinite().all()
    assert waveform.grad[1].abs().max() > 0


def test_autocast_and_half_precision_change_little(tmp_path: Path) -> None:
    front_end, waveform = MelSpectrogram(), 0.1 * torch.randn(1, 4000)
    expected = front_end(waveform)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(front_end(waveform), expected)
    front_end.save_pretrained(tmp_path)
    assert torch.equal(MelSpectrogram.from_pretrained(tmp_path)(waveform), expected)
    assert front_end.half()(waveform).dtype == torch.float32
    torch.testing.assert_close(front_end(waveform), expected, atol=0.01, rtol=0)


def test_wrong_frequencies_and_shapes_are_named() -> None:
    with pytest.raises(ConfigurationError, match="f_max=9000"):
        MelSpectrogram(f_max=9000.0)
    with pytest.raises(ConfigurationError, match="f_min"):
        MelSpectrogram(f_min=500.0, f_max=500.0)
    with pytest.raises(ShapeError, match=r"\(1, 512\)"):
        MelSpectrogram()(torch.zeros(1, 512))
    with pytest.raises(ShapeError, match=r"\(4000,\)"):
        MelSpectrogram()(torch.zeros(4000))


@pytest.mark.parametrize(("rate", "n_fft"), [(8000, 512), (16000, 1024), (24000, 2048), (44100, 2048), (48000, 4096)])
def test_a_full_band_front_end_reaches_half_the_sample_rate(rate: int, n_fft: int) -> None:
    front_end = full_band_mel(rate)
    tone = torch.sin(2 * torch.pi * 0.45 * rate * torch.arange(rate) / rate)
    mel = front_end(tone[None])
    assert front_end.config["n_fft"] == n_fft
    assert mel.shape == (1, 100, 64)
    assert mel[0, 50].argmax() > 55
