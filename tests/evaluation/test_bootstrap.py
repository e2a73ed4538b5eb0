"""Intervals have the width that statistics says, and come out the same each time."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from consistency_tta.evaluation.bootstrap import draws, halves, mean_interval, set_intervals
from consistency_tta.evaluation.protocol import BootstrapSettings
from consistency_tta.metrics.frechet import frechet_distance

SETTINGS = BootstrapSettings(resamples=4000, set_resamples=300, confidence=0.9)


def test_mean_agrees_with_scipy() -> None:
    values = torch.randn(60) ** 2
    found = mean_interval(values, SETTINGS, seed=0)
    reference = scipy.stats.bootstrap(
        (values.numpy(),), np.mean, n_resamples=4000, confidence_level=0.9, method="percentile", random_state=0
    ).confidence_interval
    width = reference.high - reference.low
    assert abs(found.low - reference.low) < 0.06 * width
    assert abs(found.high - reference.high) < 0.06 * width
    assert abs(found.bias) < 0.02 * width
    assert found.resamples == 4000


def test_the_same_seed_draws_the_same_clips() -> None:
    values = torch.randn(20)
    assert mean_interval(values, SETTINGS, seed=1) == mean_interval(values, SETTINGS, seed=1)
    assert mean_interval(values, SETTINGS, seed=1) != mean_interval(values, SETTINGS, seed=2)
    index = torch.stack(list(draws(20, 5, seed=1)))
    assert index.shape == (5, 20)
    assert 0 <= int(index.min()) <= int(index.max()) < 20


def test_equal_values_leave_no_doubt() -> None:
    found = mean_interval(torch.full((9,), 0.25), SETTINGS, seed=0)
    assert (found.low, found.high, found.bias) == pytest.approx((0.25, 0.25, 0.0))


def test_values_of_sets() -> None:
    """A mean is a value of a set, too; the variance without n - 1 is known to be too small by 1 / n in a draw."""
    values = torch.randn(40).double()

    def values_of(index: Tensor) -> dict[str, float]:
        return {"mean": float(values[index].mean()), "variance": float(values[index].var(unbiased=False))}

    whole = values_of(torch.arange(40))
    found = set_intervals(whole, values_of, 40, SETTINGS, seed=3)
    alone = mean_interval(values, SETTINGS, seed=3)
    assert found["mean"].high - found["mean"].low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert found["variance"].bias == pytest.approx(-whole["variance"] / 40, abs=0.5 * whole["variance"] / 40)
    assert found["variance"].low >= 0
    assert found["variance"].resamples == 300


def test_halves_have_each_clip_once() -> None:
    drawn = list(halves(9, 50, seed=1))
    assert {len(set(half.tolist())) for half in drawn} == {4}
    assert len({tuple(sorted(half.tolist())) for half in drawn}) > 30
    assert set(torch.cat(drawn).tolist()) == set(range(9))


def test_halves_spread_as_far_as_other_clips_do() -> None:
    """A Fréchet distance of 400 clips in 32 dimensions, against the spread over 60 other sets of clips."""

    def sets() -> tuple[Tensor, Tensor]:
        return torch.randn(400, 32).double(), 1.2 * torch.randn(400, 32).double() + 0.3

    spread = torch.tensor([distance(*sets()) for _ in range(60)]).std()
    widths = []
    for seed in range(4):
        real, made = sets()
        values_of = partial(of_rows, real, made)
        found = set_intervals(values_of(torch.arange(400)), values_of, 400, BootstrapSettings(2, 60, 0.9), seed)[""]
        widths.append(found.high - found.low)
    assert sum(widths) / 4 == pytest.approx(2 * 1.645 * float(spread), rel=0.3)


def distance(real: Tensor, made: Tensor) -> float:
    return float(frechet_distance(real.mean(0), real.T.cov(), made.mean(0), made.T.cov()))


def of_rows(real: Tensor, made: Tensor, index: Tensor) -> dict[str, float]:
    return {"": distance(real[index], made[index])}


def test_intervals_contain_the_value() -> None:
    """Though a distance of sets is larger in nearly every draw than for all clips."""
    real, made = torch.randn(2, 40, 20).double()
    values_of = partial(of_rows, real, made)
    whole = values_of(torch.arange(40))
    found = set_intervals(whole, values_of, 40, SETTINGS, seed=0)[""]
    assert found.low < whole[""] < found.high
    assert found.low + found.bias > whole[""]  # where the percentiles of the draws begin


def test_a_value_that_some_draws_lack_has_no_interval() -> None:
    def values_of(index: torch.Tensor) -> dict[str, float]:
        return {"": float(len(index))} | ({"seldom": 1.0} if 0 in index else {})

    assert list(set_intervals(values_of(torch.arange(40)), values_of, 40, SETTINGS, seed=0)) == [""]
