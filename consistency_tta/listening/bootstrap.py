"""Bootstrap intervals of mean ratings.

Raters and clips are both samples: results should hold for other raters and other clips. The ratings of one rater, or of
one clip, are not independent, so the intervals do not treat them so.
"""

from __future__ import annotations

import numpy as np


def bootstrap_means(ratings: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    """Mean ratings as they might have come out with other raters and clips.

    Raters and clips are drawn with replacement, independently of each other, which no function of scipy does: Art B.
    Owen, "The pigeonhole bootstrap", 2007, https://doi.org/10.1214/07-AOAS122. It overestimates the variance a little
    (Owen and Eckles, "Bootstrapping data arrays of arbitrary order", 2012, https://arxiv.org/abs/1106.2125).

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

    present = ~np.isnan(ratings)
    with np.errstate(invalid="ignore", divide="ignore"):
        return weighted(np.nan_to_num(ratings)) / weighted(present.astype(float))


def percentile_interval(means: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of draws (draws,), without those that are NaN."""
    low, high = np.nanquantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
