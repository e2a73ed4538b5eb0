"""Bootstrap of mean ratings: known variances, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from consistency_tta.listening.bootstrap import bootstrap_means, percentile_interval


def test_variance_is_that_of_raters_and_clips() -> None:
    random = np.random.default_rng(0)
    raters, clips = random.normal(0, 1, 30), random.normal(0, 0.5, 40)
    ratings = (raters[:, None] + clips)[..., None]
    spread = bootstrap_means(ratings, 4000, random).var()
    # Without other noise it is the plug-in variance of the mean.
    assert spread == pytest.approx(raters.var() / 30 + clips.var() / 40, rel=0.08)


def test_equal_ratings_have_an_interval_of_no_width() -> None:
    means = bootstrap_means(np.full((3, 4, 2), 2.5), 100, np.random.default_rng(0))
    np.testing.assert_allclose(means, 2.5)
    assert percentile_interval(means[:, 0]) == pytest.approx((2.5, 2.5))


def test_missing_ratings_do_not_count() -> None:
    ratings = np.full((4, 5, 1), 3.0)
    ratings[0, :, 0] = math.nan
    ratings[1:, 2, 0] = math.nan
    means = bootstrap_means(ratings, 500, np.random.default_rng(0))
    assert np.isnan(means).mean() < 0.05  # draws that have nobody but the rater without ratings
    np.testing.assert_allclose(means[~np.isnan(means)], 3.0)


def test_interval_covers_the_true_mean_at_its_confidence() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        ratings = random.normal(0, 1, (15, 1, 1)) + random.normal(0, 1, (1, 15, 1)) + random.normal(0, 1, (15, 15, 1))
        low, high = percentile_interval(bootstrap_means(ratings, 400, random)[:, 0])
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99
