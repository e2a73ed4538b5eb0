"""Modulation loss: power of the grain counts, its place does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from consistency_tta.losses import MelModulationLoss
from consistency_tta.runtime.errors import ConfigurationError, ShapeError
from tests.losses.outputs import Sounds


def value(made: Tensor, wanted: Tensor, **kwargs: object) -> Tensor:
    return MelModulationLoss(**kwargs)(Sounds(student_mel=made, target_mel=wanted))


@pytest.mark.parametrize("bins", [4, 2, 1])
def test_it_is_the_difference_of_windowed_spectra(bins: int) -> None:
    made, wanted = np.random.default_rng(0).normal(size=(2, 32, 16))
    across = np.hanning(bins + 1)[:bins] if bins > 1 else np.ones(1)
    window = np.hanning(9)[:8, None] * across  # periodic Hann windows
    window /= np.linalg.norm(window)

    def spectra(mel: np.ndarray) -> np.ndarray:
        corners = [(i, j) for i in range(0, 25, 4) for j in range(0, 17 - bins, max(1, bins // 2))]
        return np.stack([np.abs(np.fft.rfft2(mel[i : i + 8, j : j + bins] * window)) for i, j in corners])

    expected = np.abs(spectra(made) - spectra(wanted)).mean()
    found = value(torch.as_tensor(made)[None], torch.as_tensor(wanted)[None], patches=[(8, bins)])
    np.testing.assert_allclose(found.numpy(), [expected], rtol=1e-4)


def test_patches_of_all_sizes_count_alike_in_each_example() -> None:
    made, wanted = torch.randn(2, 3, 64, 16)
    each = [value(made, wanted, patches=[size]) for size in ((16, 16), (64, 1))]
    torch.testing.assert_close(value(made, wanted), torch.stack(each).mean(0))


def test_half_precision_is_compared_in_float32() -> None:
    made, wanted = torch.randn(2, 3, 64, 16).bfloat16()
    assert torch.equal(value(made, wanted), value(made.float(), wanted.float()))


def test_white_noise_has_modulations_of_size_one() -> None:
    magnitudes = MelModulationLoss.modulations(torch.randn(8, 128, 64), 16, 16)
    assert abs(magnitudes.square().mean().sqrt() - 1) < 0.02


def test_other_grain_is_nearer_than_no_grain() -> None:
    """The opposite of what a distance between mels says."""
    grain, other = torch.randn(2, 4, 128, 64)
    smooth = torch.zeros_like(grain)
    assert ((grain - other).abs().mean() > (grain - smooth).abs().mean()).all()
    assert (value(other, grain) < 0.7 * value(smooth, grain)).all()


def test_least_at_about_the_right_amount_of_grain() -> None:
    grain, other = torch.randn(2, 4, 128, 64)
    amounts = torch.arange(0.0, 2.0, 0.1)
    best = amounts[torch.stack([value(amount * other, grain).mean() for amount in amounts]).argmin()]
    assert 0.7 < best < 1.1


def test_equality_costs_nothing_and_gradients_are_finite() -> None:
    mel = torch.randn(2, 64, 64, requires_grad=True)
    values = value(mel, mel.detach())
    assert torch.equal(values, torch.zeros(2))
    value(torch.zeros_like(mel).requires_grad_(), mel.detach()).sum().backward()
    silent = torch.zeros(1, 64, 64, requires_grad=True)
    value(silent, mel[:1].detach()).sum().backward()
    assert silent.grad is not None
    assert silent.grad.isfinite().all()


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ShapeError, match=r"\(32, 64\)"):
        value(torch.zeros(1, 32, 64), torch.zeros(1, 32, 64))
    with pytest.raises(ConfigurationError, match="patches"):
        MelModulationLoss([(2, 2)])


def test_a_mel_may_be_as_small_as_the_smallest_patch() -> None:
    assert value(torch.zeros(1, 4, 3), torch.zeros(1, 4, 3), patches=[(4, 3)]).tolist() == [0]
