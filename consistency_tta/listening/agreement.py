"""Krippendorff's alpha: how far raters agree, beyond what chance would give.

    Klaus Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011,
    https://repository.upenn.edu/handle/20.500.14332/2089

With o_vw how often the values v and w meet in one unit (each unit with m values counting 1 / (m - 1)), n_v the sums of
its rows and n their sum,

    alpha = 1 - D_o / D_e,    D_o = sum_vw o_vw d_vw^2 / n,    D_e = sum_vw n_v n_w d_vw^2 / (n (n - 1)),

where d_vw is v - w for interval data, and for ordinal data how far apart v and w stand when all values are put in a
row: sum_{g=v}^{w} n_g - (n_v + n_w) / 2.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np


def krippendorff_alpha(ratings: np.ndarray, level: Literal["ordinal", "interval"]) -> float:
    """Alpha: 1 for perfect agreement, 0 for that of chance, below for less.

    Args:
        ratings: (raters, units), NaN where there is none.
        level: of measurement.

    Returns:
        NaN where alpha is not defined: no unit with two ratings, or one value alone.
    """
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = (ratings[:, :, None] == values).sum(0).astype(float)  # (units, values)
    counts = counts[counts.sum(1) >= 2]
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))
    coincidences = (pairs / (counts.sum(1) - 1)[:, None, None]).sum(0)
    totals = coincidences.sum(0)
    total = totals.sum()
    places = values if level == "interval" else totals.cumsum() - totals / 2
    distances = (places[:, None] - places) ** 2
    expected = (np.outer(totals, totals) * distances).sum()
    if expected == 0:
        return math.nan
    return float(1 - (total - 1) * (coincidences * distances).sum() / expected)
