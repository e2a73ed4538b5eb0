"""Krippendorff's alpha against published examples and its definition; what the package refuses is NaN."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest

from consistency_tta.listening.agreement import krippendorff_alpha
from consistency_tta.runtime.errors import MissingExtraError


def ratings(*rows: str) -> np.ndarray:
    return np.array([[math.nan if value == "." else float(value) for value in row.split()] for row in rows])


#: Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011, section C: four observers, twelve units.
FOUR = ratings(
    "1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."
)
#: https://en.wikipedia.org/wiki/Krippendorff%27s_alpha, "A computational example".
THREE = ratings(". . . . . 3 4 1 2 1 1 3 3 . 3", "1 . 2 1 3 3 4 3 . . . . . . .", ". . 2 1 3 4 4 . 2 1 1 3 3 . 4")


def by_pairs(ratings: np.ndarray) -> float:
    """Interval alpha from its definition: all ordered pairs within units, and all among everybody's ratings."""
    units = [unit[~np.isnan(unit)] for unit in ratings.T]
    units = [unit for unit in units if len(unit) > 1]
    everything = np.concatenate(units)
    within = sum(
        sum((a - b) ** 2 for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units
    ) / len(everything)
    total = sum((a - b) ** 2 for a, b in itertools.permutations(everything, 2))
    return 1 - within / (total / (len(everything) * (len(everything) - 1)))


@pytest.mark.parametrize(
    ("data", "level", "alpha"), [(FOUR, "ordinal", 0.815), (FOUR, "interval", 0.849), (THREE, "interval", 0.811)]
)
def test_published_examples(data: np.ndarray, level: str, alpha: float) -> None:
    assert krippendorff_alpha(data, level) == pytest.approx(alpha, abs=5e-4)


def test_agrees_with_the_definition() -> None:
    random = np.random.default_rng(0)
    data = random.integers(0, 101, (5, 12)).astype(float)
    data[random.random(data.shape) < 0.3] = math.nan
    assert krippendorff_alpha(data, "interval") == pytest.approx(by_pairs(data), abs=1e-12)


def test_ordinal_alpha_depends_on_the_order_alone() -> None:
    assert krippendorff_alpha(FOUR**3, "ordinal") == pytest.approx(krippendorff_alpha(FOUR, "ordinal"))
    assert krippendorff_alpha(FOUR**3, "interval") != pytest.approx(krippendorff_alpha(FOUR, "interval"), abs=0.01)


def test_perfect_chance_and_undefined() -> None:
    assert krippendorff_alpha(np.tile(np.arange(5.0), (3, 1)), "ordinal") == 1
    guessed = np.random.default_rng(0).integers(1, 6, (4, 2000)).astype(float)
    assert abs(krippendorff_alpha(guessed, "ordinal")) < 0.03
    assert math.isnan(krippendorff_alpha(np.full((3, 4), 2.0), "ordinal"))
    assert math.isnan(krippendorff_alpha(np.arange(4.0)[None], "interval"))
    assert math.isnan(krippendorff_alpha(np.full((3, 4), math.nan), "interval"))


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "krippendorff", None)
    with pytest.raises(MissingExtraError, match="krippendorff"):
        krippendorff_alpha(FOUR, "ordinal")
