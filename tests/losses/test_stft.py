"""The multi-resolution STFT loss against scipy and auraloss, and where sounds are silent."""

from __future__ import annotations

import math
import pickle

import auraloss
import numpy as np
import pytest
import scipy.signal
import torch

from consistency_tta.losses import MultiResolutionSTFTLoss
from consistency_tta.losses.stft import channel_views
from consistency_tta.runtime.errors import ConfigurationError
from tests.losses.outputs import Sounds

RESOLUTIONS = [(1024, 120, 600), (2048, 240, 1200), (512, 50, 240)]


def scipy_magnitude(waveform: np.ndarray, n_fft: int, hop_length: int, win_length: int) -> np.ndarray:
    """|STFT| (frequencies, frames) with a periodic Hann window, reflected ends and frames centred on the hops."""
    window = np.zeros(n_fft)
    left = (n_fft - win_length) // 2
    window[left : left + win_length] = scipy.signal.get_window("hann", win_length, fftbins=True)
    padded = np.pad(waveform, n_fft // 2, mode="reflect")
    transform = scipy.signal.ShortTimeFFT(window, hop_length, fs=1, fft_mode="onesided", phase_shift=None)
    slices = transform.stft(padded, p0=0, p1=1 + len(waveform) // hop_length, k_offset=n_fft // 2)
    return np.maximum(np.abs(slices), 1e-5)


def test_equals_parallel_wavegans_formula() -> None:
    student, target = 0.1 * torch.randn(2, 2, 4000, dtype=torch.float64)
    values = MultiResolutionSTFTLoss()(Sounds(student_waveform=student, target_waveform=target))
    for made_waveform, wanted_waveform, value in zip(student.numpy(), target.numpy(), values.tolist(), strict=True):
        expected = 0.0
        for resolution in RESOLUTIONS:
            made = scipy_magnitude(made_waveform, *resolution)
            wanted = scipy_magnitude(wanted_waveform, *resolution)
            expected += np.linalg.norm(made - wanted) / np.linalg.norm(wanted) / 3  # Frobenius norms
            expected += np.abs(np.log(made) - np.log(wanted)).mean() / 3
        assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["tones in noise", "noise", "tones that stop"])
def test_equals_auraloss_for_one_example(name: str) -> None:
    """Value and gradient, with its floor of 1e-4; of several examples it mixes the spectral convergence."""
    time = torch.arange(16000) / 16000
    tones = sum(torch.sin(2 * torch.pi * 110 * 1.7**k * time + k) for k in range(8)) / 16
    noise, other_noise = 0.05 * torch.randn(2, 16000)
    made = {"tones in noise": tones + noise, "noise": noise, "tones that stop": tones * (time < 0.5)}[name]
    wanted = 0.5 * tones + other_noise
    ours, theirs = (made[None].clone().requires_grad_() for _ in range(2))

    value = MultiResolutionSTFTLoss(floor=1e-4)(Sounds(student_waveform=ours, target_waveform=wanted[None]))[0]
    reference = auraloss.freq.MultiResolutionSTFTLoss(eps=1e-8)(theirs[None], wanted[None, None])
    value.backward()
    reference.backward()
    assert value.item() == pytest.approx(reference.item(), rel=1e-5)
    assert (ours.grad - theirs.grad).abs().max() <= 1e-5 * theirs.grad.abs().max()


def test_is_not_auraloss_for_a_silent_target() -> None:
    noise, silence = 0.1 * torch.randn(1, 16000), torch.zeros(1, 16000)
    value = MultiResolutionSTFTLoss(floor=1e-4)(Sounds(student_waveform=noise, target_waveform=silence))
    assert auraloss.freq.MultiResolutionSTFTLoss(eps=1e-8)(noise[None], silence[None]) > 10_000
    assert value < 20


def test_equality_costs_nothing() -> None:
    waveform = 0.1 * torch.randn(3, 4000)
    student = waveform.clone().requires_grad_(True)
    values = MultiResolutionSTFTLoss()(Sounds(student_waveform=student, target_waveform=waveform))
    assert torch.equal(values, torch.zeros(3))
    values.sum().backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("student_level", [0.0, 0.1])
@pytest.mark.parametrize("target_level", [0.0, 0.1])
def test_values_and_gradients_are_finite_at_silence(student_level: float, target_level: float) -> None:
    student = (student_level * torch.randn(2, 4000)).requires_grad_(True)
    target = target_level * torch.randn(2, 4000)
    values = MultiResolutionSTFTLoss()(Sounds(student_waveform=student, target_waveform=target))
    values.sum().backward()
    assert values.isfinite().all()
    assert student.grad.isfinite().all()


def test_a_silent_target_does_not_outweigh_all_others() -> None:
    """Half a batch of silence would otherwise have ten thousand times the gradient of the other half."""
    student = (0.1 * torch.randn(2, 4000)).requires_grad_(True)
    target = torch.stack([torch.zeros(4000), 0.1 * torch.randn(4000)])
    values = MultiResolutionSTFTLoss()(Sounds(student_waveform=student, target_waveform=target))
    values.sum().backward()
    silent, loud = student.grad.norm(dim=1)
    assert 0 < silent < 30 * loud
    assert values[0] < 0.1 / 0.01 + math.log(10 / 1e-5)


def test_quiet_changes_nothing_for_audible_targets() -> None:
    student, target = 0.1 * torch.randn(2, 2, 4000)
    out = Sounds(student_waveform=student, target_waveform=target)
    assert torch.equal(MultiResolutionSTFTLoss(quiet=1e-2)(out), MultiResolutionSTFTLoss(quiet=1e-6)(out))


def test_moves_pickles_and_is_not_saved() -> None:
    loss = MultiResolutionSTFTLoss()
    assert loss.state_dict() == {}
    assert not loss.noise_weighted
    out = Sounds(student_waveform=torch.zeros(1, 4000), target_waveform=torch.ones(1, 4000))
    assert torch.equal(pickle.loads(pickle.dumps(loss))(out), loss(out))


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigurationError, match="n_ffts"):
        MultiResolutionSTFTLoss(n_ffts=(512, 1024))
    with pytest.raises(ConfigurationError, match="floor"):
        MultiResolutionSTFTLoss(floor=0)


def test_stereo_compares_left_right_sum_and_difference() -> None:
    student, target = 0.1 * torch.randn(2, 3, 2, 4000)
    loss = MultiResolutionSTFTLoss()

    def mono(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return loss(Sounds(student_waveform=one, target_waveform=other))

    views = [mono(student[:, channel], target[:, channel]) for channel in (0, 1)]
    views += [mono(student.mean(1), target.mean(1))]
    views += [mono((student[:, 0] - student[:, 1]) / 2, (target[:, 0] - target[:, 1]) / 2)]
    torch.testing.assert_close(loss(Sounds(student_audio=student, target_audio=target)), torch.stack(views).mean(0))
    swapped = Sounds(student_audio=target.flip(1), target_audio=target)
    assert loss(swapped).min() > 0.1  # though the sum of the channels is the same


def test_the_views_of_stereo_are_as_loud_as_its_channels() -> None:
    views = channel_views(torch.tensor([[[1.0], [3.0]]]))
    assert views.flatten().tolist() == [1, 3, 2, -1]


def test_half_precision_is_compared_in_float32_at_a_single_resolution_too() -> None:
    loss = MultiResolutionSTFTLoss((512,), (50,), (240,))
    student, target = (0.1 * torch.randn(2, 2, 4000)).bfloat16()
    values = loss(Sounds(student_waveform=student, target_waveform=target))
    assert torch.equal(values, loss(Sounds(student_waveform=student.float(), target_waveform=target.float())))
    assert values.dtype == torch.float32
