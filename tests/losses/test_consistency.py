"""Latent losses against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import huber

from consistency_tta.contracts import Loss
from consistency_tta.losses import LatentHuberLoss, LatentL2Loss, LatentPseudoHuberLoss
from consistency_tta.runtime.errors import ConfigurationError
from tests.losses.outputs import latents


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    student, target = torch.randn(2, 3, 4, 8, 2, dtype=torch.float64)
    return student.requires_grad_(True), target


def test_l2_is_the_mean_square_per_example() -> None:
    student, target = pair()
    values = LatentL2Loss()(latents(student, target))
    difference = (student - target).detach().numpy()
    np.testing.assert_allclose(values.detach().numpy(), np.mean(difference**2, axis=(1, 2, 3)))


@pytest.mark.parametrize("delta", [1.0, 0.3])
def test_huber_is_quadratic_up_to_delta_and_linear_beyond(delta: float) -> None:
    student, target = pair()
    values = LatentHuberLoss(delta)(latents(student, target))
    expected = [huber(delta, row).mean() for row in (student - target).detach().numpy()]  # scipy's
    np.testing.assert_allclose(values.detach().numpy(), expected)


@pytest.mark.parametrize("c", [None, 0.3])
def test_pseudo_huber_is_song_and_dhariwals(c: float | None) -> None:
    student, target = pair()
    values = LatentPseudoHuberLoss(c)(latents(student, target))
    rows = (student - target).detach().numpy().reshape(3, -1)
    constant = 0.00054 * np.sqrt(64) if c is None else c
    expected = [(np.sqrt(row @ row + constant**2) - constant) / np.sqrt(64) for row in rows]
    np.testing.assert_allclose(values.detach().numpy(), expected)


def test_pseudo_huber_is_quadratic_when_close_and_linear_when_far() -> None:
    loss, zeros = LatentPseudoHuberLoss(c=1.0), torch.zeros(1, 4, 8, 2, dtype=torch.float64)

    def value(size: float) -> float:
        return loss(latents(zeros + size, zeros)).item()

    assert value(2e-4) / value(1e-4) == pytest.approx(4, rel=1e-3)
    assert value(2e4) / value(1e4) == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize("loss", [LatentL2Loss(), LatentHuberLoss(), LatentPseudoHuberLoss()])
def test_equal_latents_cost_nothing_and_have_finite_gradients(loss: Loss) -> None:
    student = torch.randn(3, 4, 8, 2, requires_grad=True)
    values = loss(latents(student, student.detach()))
    assert values.shape == (3,)
    assert torch.equal(values, torch.zeros(3))
    values.sum().backward()
    assert torch.equal(student.grad, torch.zeros_like(student))
    assert loss.noise_weighted
    assert loss.state_dict() == {}


def test_c_and_delta_must_be_positive() -> None:
    with pytest.raises(ConfigurationError, match="delta"):
        LatentHuberLoss(delta=0)
    with pytest.raises(ConfigurationError):
        LatentPseudoHuberLoss(c=0)
