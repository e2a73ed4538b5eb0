"""Draws are a function of the seed and the position, and of nothing else. (Ranks: test_consistency.py.)"""

from __future__ import annotations

import pytest
import torch

from consistency_tta.training.step_rng import StepRNG


def at(seed: int = 0, epoch: int = 0, batch_idx: int = 0) -> StepRNG:
    return StepRNG(seed, epoch, batch_idx, torch.device("cpu"))


def draws(rng: StepRNG) -> tuple[torch.Tensor, ...]:
    example = torch.empty(64, 3)
    return rng.normal_like(example), rng.uniform(64), rng.integers(1000, 64)


def test_the_position_decides_and_global_state_does_not() -> None:
    first = draws(at(1, 2, 3))
    torch.manual_seed(99)
    assert all(torch.equal(one, other) for one, other in zip(draws(at(1, 2, 3)), first, strict=True))
    before = torch.get_rng_state()
    draws(at(1, 2, 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_later_version_goes_on_with_the_same_draws() -> None:
    assert at(1, 2, 3).entropy == 6498626229777268288
    assert at(1, 2, 3).normal_like(torch.empty(1)).item() == pytest.approx(1.593852, abs=1e-5)
    assert at().normal_like(torch.empty(2, 3, 4)).shape == (2, 3, 4)
    assert at().to_device(torch.ones(2)).tolist() == [1, 1]


@pytest.mark.parametrize("other", [at(1), at(0, 1), at(0, 0, 1)])
def test_every_coordinate_counts(other: StepRNG) -> None:
    assert all(not torch.equal(one, two) for one, two in zip(draws(at()), draws(other), strict=True))


def test_coordinates_are_not_interchangeable() -> None:
    assert len({at(*position).entropy for position in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0)]}) == 5


def test_distributions() -> None:
    rng = at()
    normal = rng.normal_like(torch.empty(20000))
    uniform = rng.uniform(20000)
    integers = rng.integers(4, 20000)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
    assert integers.bincount().float().sub(5000).abs().max() < 250
    # The two generators of a batch are not copies of one another.
    assert abs(torch.corrcoef(torch.stack([normal, uniform]))[0, 1]) < 0.03
