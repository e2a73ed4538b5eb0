"""Tests of paired differences that assume nothing of how ratings are distributed."""

from __future__ import annotations

import numpy as np

from consistency_tta.listening.extra import require_extra

#: Up to this many differences all signs are tried, however few draws there are.
EXACT = 12


def sign_flip_p(differences: np.ndarray, draws: int, random: np.random.Generator) -> float:
    """Two-sided p-value of the mean of paired differences: how often random signs give one as far from 0.

    R. A. Fisher, "The Design of Experiments", 1935, section 21, by ``scipy.stats.permutation_test``. Where there are
    more signs than draws, signs are drawn, and the observed ones count as a draw: B. Phipson and G. K. Smyth,
    "Permutation P-values Should Never Be Zero", 2010, https://arxiv.org/abs/1603.05766.

    Args:
        differences: (n,).
        draws: how many signs are drawn.
        random: generator.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    stats = require_extra("scipy.stats")
    if len(differences) < 2:  # scipy wants two; both signs of one difference are equally far from 0
        return 1.0
    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=max(draws, 2**EXACT),
        rng=random,
    )
    return float(found.pvalue)


def holm(p_values: list[float]) -> list[float]:
    """p-values corrected for their number: S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.

    scipy has no such correction.
    """
    corrected, largest = list(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
