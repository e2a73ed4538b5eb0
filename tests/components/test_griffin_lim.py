"""The vocoder that needs no training: it inverts the mel front end, is reproducible, and lets gradients through."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.runtime.errors import ConfigurationError


def chirp(samples: int = 8000) -> torch.Tensor:
    time = torch.arange(samples) / 16000
    return 0.3 * torch.sin(2 * torch.pi * (300 + 1500 * time) * time)[None]


def test_the_mel_of_the_sound_is_the_mel_that_was_given() -> None:
    mel = MelSpectrogram()(chirp())
    errors = []
    for iterations in (0, 6, 30):
        made = MelSpectrogram()(GriffinLimVocoder(num_iterations=iterations)(mel))
        audible = mel > mel.max() - 5
        errors.append((made - mel)[audible].abs().mean().item())
    assert errors[0] > 2 * errors[1]
    assert errors[1] > errors[2]
    assert errors[2] < 0.3


def test_magnitudes_have_the_mel_that_was_given() -> None:
    vocoder, mel = GriffinLimVocoder(), MelSpectrogram()(chirp()).exp()
    magnitude = vocoder.magnitude(mel)
    assert (magnitude >= 0).all()
    assert (magnitude @ vocoder.filters - mel).norm() < 0.01 * mel.norm()


def test_eight_updates_fit_the_mel_as_well_as_fifty_multiplicative_ones() -> None:
    """Lee and Seung's algorithm is the reference; its start has negative magnitudes, which are cut."""
    torch.manual_seed(0)
    vocoder, mel = GriffinLimVocoder(), MelSpectrogram()(0.1 * torch.randn(1, 8000) + chirp()).exp()
    magnitude, target = (mel @ vocoder.inverse).clamp_min(1e-8), mel @ vocoder.filters.T
    for _ in range(50):
        magnitude = magnitude * target / ((magnitude @ vocoder.filters) @ vocoder.filters.T + 1e-9)
    multiplicative = (magnitude @ vocoder.filters - mel).norm()
    assert (vocoder.magnitude(mel) @ vocoder.filters - mel).norm() < 1.02 * multiplicative


@pytest.mark.parametrize("frames", [1, 4, 33])
def test_a_hop_of_samples_for_each_frame(frames: int) -> None:
    vocoder = GriffinLimVocoder(model_in_dim=16, n_fft=512, num_iterations=1)
    assert vocoder(torch.randn(2, frames, 16)).shape == (2, frames * 160)


def test_it_is_the_same_every_time_and_examples_are_independent() -> None:
    vocoder, mel = GriffinLimVocoder(model_in_dim=16), torch.randn(2, 40, 16)
    assert torch.equal(vocoder(mel), vocoder(mel))
    torch.testing.assert_close(vocoder(mel)[1:], vocoder(mel[1:]), atol=1e-4, rtol=1e-4)
    short, long = (GriffinLimVocoder(num_iterations=0).phase(torch.ones(1, 513, n)) for n in (20, 40))
    assert torch.equal(short, long[..., :20])


def test_louder_is_louder_and_the_gradient_says_so() -> None:
    """Magnitudes scale with the mel; phases, which do not, count as constants."""
    vocoder, mel = GriffinLimVocoder(), MelSpectrogram()(chirp())
    gain = torch.zeros((), requires_grad=True)
    power = vocoder(mel + gain).square().mean()
    (slope,) = torch.autograd.grad(power, gain)
    torch.testing.assert_close(slope, 2 * power.detach(), rtol=1e-3, atol=0)


def test_save_and_load_keep_every_bit(tmp_path: Path) -> None:
    vocoder, mel = GriffinLimVocoder(model_in_dim=16, num_iterations=2), torch.randn(1, 9, 16)
    vocoder.save_pretrained(tmp_path)
    assert torch.equal(GriffinLimVocoder.from_pretrained(tmp_path, low_cpu_mem_usage=False)(mel), vocoder(mel))


@pytest.mark.parametrize("wrong", [{"num_iterations": -1}, {"num_updates": 0}, {"momentum": 1.0}])
def test_wrong_settings_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="num_iterations"):
        GriffinLimVocoder(**wrong)
    with pytest.raises(ConfigurationError, match="f_max"):
        GriffinLimVocoder(sampling_rate=8000)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_casts_leave_the_filters_alone(dtype: torch.dtype, tmp_path: Path) -> None:
    vocoder, mel = GriffinLimVocoder(), MelSpectrogram()(chirp())
    expected = vocoder(mel)
    vocoder.save_pretrained(tmp_path)
    cast = vocoder.to(dtype)
    assert {buffer.dtype for buffer in cast.buffers()} == {torch.float32}
    assert torch.equal(cast(mel), expected)
    loaded = GriffinLimVocoder.from_pretrained(tmp_path, torch_dtype=dtype)
    error = MelSpectrogram()(loaded(mel)) - MelSpectrogram()(expected)
    assert error[mel > mel.max() - 5].abs().mean() < 0.3
    assert MelSpectrogram().to(dtype).double().filters.dtype == torch.float64
