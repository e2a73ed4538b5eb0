"""Phase derivatives: zero for a sound and itself, however it is scaled or shifted in phase; it grows with errors."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from consistency_tta.losses import PhaseDerivativeLoss
from consistency_tta.runtime.errors import ConfigurationError

TIME = torch.arange(8192) / 16000


def compared(made: Tensor, wanted: Tensor, **settings: Any) -> float:
    out: Any = SimpleNamespace(student_waveform=made[None], target_waveform=wanted[None])
    return PhaseDerivativeLoss(**settings)(out).item()


def tone(frequency: float, phase: float = 0.0) -> Tensor:
    return torch.sin(2 * math.pi * frequency * TIME + phase)


def test_level_sign_and_phase_do_not_count() -> None:
    noise = torch.randn(8192)
    assert compared(noise, noise) == pytest.approx(0, abs=1e-4)
    assert compared(-0.3 * noise, noise) == pytest.approx(0, abs=1e-4)
    assert compared(tone(900, 1.0), tone(900), power=2.0) == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize("power", [0.0, 0.5, 3.0])
def test_it_is_the_weighted_mean_of_the_errors_of_angles(power: float) -> None:
    def spectrum(sound: Tensor) -> np.ndarray:
        window = torch.hann_window(64, dtype=sound.dtype)
        return torch.stft(sound, 64, 16, window=window, return_complex=True).numpy()

    sounds = torch.randn(2, 2048, dtype=torch.float64)
    made, wanted = map(spectrum, sounds)
    parts = []
    for axis in (0, 1):  # frequencies, frames
        error = np.diff(np.angle(made), axis=axis) - np.diff(np.angle(wanted), axis=axis)
        size = np.abs(wanted)
        before, after = (np.take(size, range(k, size.shape[axis] - 1 + k), axis) for k in (0, 1))
        parts.append(np.average(1 - np.cos(error), weights=np.sqrt(before * after) ** power))
    assert compared(*sounds, n_fft=64, hop_length=16, power=power) == pytest.approx(np.mean(parts), rel=1e-4)


def test_unrelated_noise_is_far() -> None:
    """Further than noise with a tenth of other noise; neighbouring bins share most of their window, so less than 1."""
    noise, other = torch.randn(2, 8192)
    assert compared(noise + 0.1 * other, noise) < 0.1
    assert 0.3 < compared(other, noise) < 1


def test_frequency_and_place_count() -> None:
    """Group delay finds an impulse's place, instantaneous frequency a tone's pitch: both errors grow with distance."""
    assert 1e-3 < compared(tone(905), tone(900), power=2.0) < 0.1 * compared(tone(930), tone(900), power=2.0)
    impulse = torch.zeros(8192)
    impulse[4000] = 1
    errors = [compared(impulse.roll(shift), impulse, power=2.0) for shift in (0, 4, 16, 64)]
    assert errors == sorted(errors)
    assert errors[-1] > 0.1


def test_gradients_are_finite_for_silence() -> None:
    made = torch.zeros(1, 4096, requires_grad=True)
    out: Any = SimpleNamespace(student_waveform=made, target_waveform=torch.zeros(1, 4096))
    PhaseDerivativeLoss()(out).sum().backward()
    assert made.grad is not None
    assert made.grad.isfinite().all()


@pytest.mark.parametrize("settings", [{"hop_length": 0}, {"n_fft": 32}, {"power": -1.0}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=str(next(iter(settings.values())))):
        PhaseDerivativeLoss(**settings)


def test_frames_may_be_one_sample_or_a_whole_window_apart() -> None:
    noise, other = torch.randn(2, 64)
    for hop_length in (1, 8):
        assert 0 < compared(noise, other, n_fft=8, hop_length=hop_length) < 2


def test_half_precision_is_computed_in_float32_and_nothing_is_saved() -> None:
    noise, other = torch.randn(2, 8192).bfloat16()
    assert compared(noise, other) == compared(noise.float(), other.float())
    out: Any = SimpleNamespace(student_waveform=noise[None], target_waveform=other[None])
    in_half = PhaseDerivativeLoss().bfloat16()(out)  # its window is rounded, and nothing else
    torch.testing.assert_close(in_half, PhaseDerivativeLoss()(out), rtol=1e-2, atol=0)
    assert PhaseDerivativeLoss(power=0.0).state_dict() == {}
