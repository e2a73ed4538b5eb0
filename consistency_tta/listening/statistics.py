"""Statistics of the ratings on one scale."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from consistency_tta.listening.agreement import krippendorff_alpha
from consistency_tta.listening.answers import Answers
from consistency_tta.listening.bootstrap import bootstrap_means, percentile_interval
from consistency_tta.listening.key import Key, Scale
from consistency_tta.listening.significance import holm, sign_flip_p


def statistics(answers: Sequence[Answers], key: Key, scale: Scale, draws: int, seed: int) -> dict[str, Any]:
    """The statistics of one scale: of each system, of each pair of systems, and the agreement of the raters.

    Args:
        answers: at least one.
        key: of the test.
        scale: which.
        draws: of bootstrap and signs.
        seed: of the draws.
    """
    ratings = table(answers, key, scale)
    random = np.random.default_rng(seed)
    pairs = list(itertools.combinations(range(len(key.systems)), 2))
    differences = np.stack([ratings[..., a] - ratings[..., b] for a, b in pairs], -1) if pairs else ratings[..., :0]
    # One draw of raters and clips for all columns.
    means = bootstrap_means(np.concatenate([ratings, differences], -1), draws, random)
    systems: dict[str, dict[str, Any]] = {}
    for index, system in enumerate(key.systems):
        count = int((~np.isnan(ratings[..., index])).sum())
        systems[system] = {"ratings": count, "mean": math.nan, "low": math.nan, "high": math.nan}
        if count:
            low, high = percentile_interval(means[:, index])
            systems[system] |= {"mean": float(np.nanmean(ratings[..., index])), "low": low, "high": high}
    found: list[dict[str, Any]] = []
    for index, (a, b) in enumerate(pairs):
        difference = differences[..., index]
        if np.isnan(difference).all():
            continue
        low, high = percentile_interval(means[:, len(key.systems) + index])
        by_rater, by_clip = (sign_flip_p(averages(difference, axis), draws, random) for axis in (1, 0))
        found.append(
            {
                "systems": [key.systems[a], key.systems[b]],
                "mean": float(np.nanmean(difference)),
                "low": low,
                "high": high,
                "p_raters": by_rater,
                "p_clips": by_clip,
            }
        )
    # Both tests must reject: such an intersection-union test needs no correction for there being two of them.
    for pair, p in zip(found, holm([max(pair["p_raters"], pair["p_clips"]) for pair in found]), strict=True):
        pair["p"] = p
    agreement = krippendorff_alpha(ratings.reshape(len(answers), -1), scale.level)
    return {"systems": systems, "differences": found, "alpha": agreement, "level": scale.level}


def table(answers: Sequence[Answers], key: Key, scale: Scale) -> np.ndarray:
    """Ratings (raters, clips, systems), NaN where there is none."""
    clips = {clip: index for index, clip in enumerate(sorted({item.clip for item in key.items.values()}))}
    ratings = np.full((len(answers), len(clips), len(key.systems)), math.nan)
    for row, one in enumerate(answers):
        for name, rated in one.items.items():
            item = key.items[name]
            ratings[row, clips[item.clip], key.systems.index(item.system)] = rated.scores[scale.name]
    return ratings


def averages(values: np.ndarray, axis: int) -> np.ndarray:
    """Means (n,) along an axis, of the rows or columns that have a value."""
    counts = (~np.isnan(values)).sum(axis)
    return (np.nan_to_num(values).sum(axis) / counts.clip(1))[counts > 0]
