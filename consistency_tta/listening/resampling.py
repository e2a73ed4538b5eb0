"""Intervals and tests without assumptions about how ratings are distributed.

Raters and clips are both samples: results should hold for other raters and other clips. Ratings (raters, clips) of one
rater, or of one clip, are not independent, so neither the intervals nor the tests treat them so.
"""

from __future__ import annotations

import itertools

import numpy as np

#: Up to so many differences all signs are tried.
EXACT = 12


def bootstrap_means(ratings: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    """Means of ratings as they might have come out with other raters and clips.

    Raters and clips are drawn with replacement, independently: Art B. Owen, "The pigeonhole bootstrap", 2007,
    https://doi.org/10.1214/07-AOAS122, which overestimates the variance a little (Owen and Eckles, "Bootstrapping data
    arrays of arbitrary order", 2012, https://arxiv.org/abs/1106.2125).

    Args:
        ratings: (raters, clips, columns), NaN where there is none.
        draws: how many.
        random: generator.

    Returns:
        (draws, columns), NaN where a draw has no rating.
    """
    raters, clips, _ = ratings.shape
    rater_weights = random.multinomial(raters, np.full(raters, 1 / raters), draws).astype(float)
    clip_weights = random.multinomial(clips, np.full(clips, 1 / clips), draws).astype(float)

    def weighted(values: np.ndarray) -> np.ndarray:
        return np.einsum("dr,rck,dc->dk", rater_weights, values, clip_weights, optimize=True)

    there = ~np.isnan(ratings)
    with np.errstate(invalid="ignore", divide="ignore"):
        return weighted(np.nan_to_num(ratings)) / weighted(there.astype(float))


def interval(means: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of draws (draws,)."""
    low, high = np.nanquantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def sign_flip_p(differences: np.ndarray, draws: int, random: np.random.Generator) -> float:
    """Two-sided p-value of the mean of paired differences (n,): how often random signs give one as far from 0.

    R. A. Fisher, "The Design of Experiments", 1935, section 21. Of more than :data:`EXACT` differences signs are drawn,
    and the observed ones count as a draw: B. Phipson and G. K. Smyth, "Permutation P-values Should Never Be Zero",
    2010, https://arxiv.org/abs/1603.05766.
    """
    if len(differences) <= EXACT:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(differences))))
    else:
        signs = random.choice((-1, 1), (draws, len(differences)))
        signs[0] = 1
    far = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9 * max(1, np.abs(differences).sum())
    return float(far.mean())


def holm(p_values: list[float]) -> list[float]:
    """p-values corrected for their number: S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979."""
    corrected, largest = list(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
