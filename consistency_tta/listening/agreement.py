"""Krippendorff's alpha: how far raters agree, beyond what chance would give."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from consistency_tta.listening.extra import require_extra


def krippendorff_alpha(ratings: np.ndarray, level: Literal["ordinal", "interval"]) -> float:
    """Alpha: 1 for perfect agreement, 0 for that of chance, below 0 for less.

        Klaus Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011,
        https://repository.upenn.edu/handle/20.500.14332/2089

    The package ``krippendorff`` computes it.

    Args:
        ratings: (raters, units), NaN where there is none.
        level: of measurement.

    Returns:
        NaN where alpha is not defined: if no unit has two ratings, or all ratings are equal.

    Raises:
        MissingExtraError: the package is not installed.
    """
    krippendorff = require_extra("krippendorff")
    pairable = ratings[:, (~np.isnan(ratings)).sum(0) >= 2]
    if len(np.unique(pairable[~np.isnan(pairable)])) < 2:
        return math.nan
    return float(krippendorff.alpha(pairable, level_of_measurement=level))
