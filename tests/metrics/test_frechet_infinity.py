from __future__ import annotations

import numpy as np
import pytest
import torch

from consistency_tta.metrics.frechet import FrechetDistance, frechet_distance
from consistency_tta.metrics.frechet_infinity import FrechetInfinity, line
from consistency_tta.runtime.errors import ConfigurationError, DataError


def fed(metric, real, generated):
    metric.update(real, real=True)
    metric.update(generated, real=False)
    return metric.compute()


def test_line_equals_that_of_numpy():
    x, y = torch.rand(2, 15, dtype=torch.float64)
    intercept, slope, r_squared = line(x, y)
    expected_slope, expected_intercept = np.polyfit(x, y, 1)
    assert intercept.item() == pytest.approx(expected_intercept)
    assert slope.item() == pytest.approx(expected_slope)
    assert r_squared.item() == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)
    assert line(x, torch.ones_like(x))[2] == 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_takes_most_of_the_bias_away(seed):
    """Of clips of one distribution the true distance is 0."""
    torch.manual_seed(seed)
    real, generated = torch.randn(20_000, 16), torch.randn(400, 16)
    biased = fed(FrechetDistance(16), real, generated)
    corrected = fed(FrechetInfinity(16, min_clips=50), real, generated)
    assert corrected["distance"].abs() < biased / 2
    assert 0.9 < corrected["r_squared"] <= 1


def test_all_clips_are_the_largest_subset():
    """With three sizes, two of which are known by hand."""
    real, generated = torch.randn(2, 60, 4, dtype=torch.float64).float()
    sizes, order = [20, 40, 60], torch.Generator().manual_seed(7)
    distances = []
    for size in sizes:
        subset = generated[torch.randperm(60, generator=order)[:size]].double()
        rows = real.double()
        distances.append(frechet_distance(rows.mean(0), rows.T.cov(), subset.mean(0), subset.T.cov()))
    assert distances[-1] == pytest.approx(fed(FrechetDistance(4), real, generated).item())
    expected = np.polyfit(1 / np.array(sizes), torch.stack(distances).numpy(), 1)[1]
    found = fed(FrechetInfinity(4, min_clips=20, num_sizes=3, seed=7), real, generated)
    assert found["distance"].item() == pytest.approx(expected)


def test_one_dimension_and_too_few_clips_for_the_dimensions():
    assert fed(FrechetInfinity(1, min_clips=5), *torch.randn(2, 50, 1))["distance"].isfinite()
    with pytest.warns(UserWarning, match="5 .*6"):
        fed(FrechetInfinity(6, min_clips=5), *torch.randn(2, 50, 6))


def test_as_many_clips_as_there_are_sizes_suffice():
    real, generated = torch.randn(2, 12, 1)
    assert fed(FrechetInfinity(1, min_clips=8, num_sizes=5), real, generated)["distance"].isfinite()
    with pytest.raises(DataError, match="11"):
        fed(FrechetInfinity(1, min_clips=8, num_sizes=5), real, generated[:11])


def test_errors_say_what_to_do():
    with pytest.raises(ConfigurationError, match="min_clips"):
        FrechetInfinity(4, min_clips=1)
    with pytest.raises(DataError, match="40"):
        fed(FrechetInfinity(4, min_clips=30), *torch.randn(2, 40, 4))
