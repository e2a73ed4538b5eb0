"""Sign flips against their definition and the t test, and Holm's correction."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from scipy import stats

from consistency_tta.listening.significance import EXACT, holm, sign_flip_p
from consistency_tta.runtime.errors import MissingExtraError


@pytest.mark.parametrize("n", [1, 2, 3, 7, EXACT])
def test_few_differences_have_the_exact_p_value(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    sums = np.array([np.dot(signs, differences) for signs in itertools.product((-1, 1), repeat=n)])
    expected = (np.abs(sums) >= abs(differences.sum()) - 1e-9).mean()
    assert sign_flip_p(differences, 100, np.random.default_rng(0)) == pytest.approx(expected)


def test_many_differences_come_near_the_t_test() -> None:
    differences = np.random.default_rng(3).normal(0.3, 1, 60)
    p = sign_flip_p(differences, 20000, np.random.default_rng(0))
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)


def test_a_drawn_p_value_is_never_0() -> None:
    p = sign_flip_p(np.full(60, 1.0), 9999, np.random.default_rng(0))
    assert p == pytest.approx(2 / 10000)  # the observed signs count as a draw, on each side


def test_no_difference_is_not_significant() -> None:
    assert sign_flip_p(np.zeros(5), 100, np.random.default_rng(0)) == 1


def test_without_scipy_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingExtraError, match="scipy"):
        sign_flip_p(np.ones(3), 100, np.random.default_rng(0))


def test_holm() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04, times 4, 3, 2, 1, and never below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
