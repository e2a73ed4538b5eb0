"""Bootstrap and sign flips: known variances, coverage, scipy's test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from consistency_tta.listening.resampling import bootstrap_means, holm, interval, sign_flip_p


def test_the_spread_of_the_means_is_that_of_raters_and_clips() -> None:
    random = np.random.default_rng(0)
    raters, clips = random.normal(0, 1, 30), random.normal(0, 0.5, 40)
    ratings = (raters[:, None] + clips)[..., None]
    spread = bootstrap_means(ratings, 4000, random).var()
    # With no other noise the plug-in variance of the mean.
    assert spread == pytest.approx(raters.var() / 30 + clips.var() / 40, rel=0.08)


def test_raters_who_are_alike_on_clips_that_are_alike_leave_no_doubt() -> None:
    means = bootstrap_means(np.full((3, 4, 2), 2.5), 100, np.random.default_rng(0))
    np.testing.assert_allclose(means, 2.5)
    assert interval(means[:, 0]) == pytest.approx((2.5, 2.5))


def test_missing_ratings_do_not_count() -> None:
    ratings = np.full((4, 5, 1), 3.0)
    ratings[0, :, 0] = math.nan
    ratings[1:, 2, 0] = math.nan
    means = bootstrap_means(ratings, 500, np.random.default_rng(0))
    assert np.isnan(means).mean() < 0.05  # a draw of the silent rater alone
    np.testing.assert_allclose(means[~np.isnan(means)], 3.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        ratings = random.normal(0, 1, (15, 1, 1)) + random.normal(0, 1, (1, 15, 1)) + random.normal(0, 1, (15, 15, 1))
        low, high = interval(bootstrap_means(ratings, 400, random)[:, 0])
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize("n", [3, 7, 11])
def test_exact_sign_flips_are_those_of_scipy(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    reference = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(differences, 0, np.random.default_rng(0)) == pytest.approx(reference.pvalue)


def test_drawn_sign_flips_come_near_the_t_test() -> None:
    differences = np.random.default_rng(3).normal(0.3, 1, 60)
    p = sign_flip_p(differences, 20000, np.random.default_rng(0))
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert sign_flip_p(np.full(60, 1.0), 1000, np.random.default_rng(0)) == 1 / 1000  # never 0


def test_holm() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04, times 4, 3, 2, 1, and never below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
