"""Means, intervals, differences and agreement of the systems of a listening test."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from consistency_tta.listening.agreement import krippendorff_alpha
from consistency_tta.listening.answers import Answers, collect
from consistency_tta.listening.bootstrap import bootstrap_means, percentile_interval
from consistency_tta.listening.extra import require_extra
from consistency_tta.listening.key import Key, Scale
from consistency_tta.listening.screening import screen
from consistency_tta.listening.significance import holm, sign_flip_p
from consistency_tta.listening.summary import summary
from consistency_tta.runtime.errors import ConfigurationError, DataError


def analyse(
    folder: Path,
    answers: list[Path] | None = None,
    output: Path | None = None,
    exclude_failing: bool = False,
    draws: int = 10000,
    seed: int = 0,
) -> dict[str, Any]:
    """Write means, confidence intervals, differences and agreement of a listening test as analysis.json and .md.

    Args:
        folder: of the test; its key, answers.sqlite and answers/*.json are read.
        answers: more answer files, or folders of them.
        output: folder for the two files; that of the test if not given.
        exclude_failing: whether to leave out raters who fail a check; they are listed in any case.
        draws: of the bootstrap and of the random signs.
        seed: of the draws.

    Returns:
        What is in analysis.json.

    Raises:
        MissingExtraError: scipy or krippendorff is not installed.
        ConfigurationError: ``draws`` or ``seed`` is out of range.
        DataError: nobody's answers can be used.
    """
    for name in ("scipy.stats", "krippendorff"):
        require_extra(name)
    if draws < 100 or seed < 0:
        raise ConfigurationError(f"expected draws of at least 100 and a seed of at least 0, got {draws} and {seed}")
    key = Key.load(folder)
    collected, faults = collect(folder, key, answers or [])
    failures = screen(collected, key)
    failing = {failure.rater for failure in failures}
    counted = [one for one in collected if one.items and not (exclude_failing and one.rater in failing)]
    if not counted:
        found = "; ".join(faults) or "no answers at all"
        raise DataError(f"expected answers to the test {key.test} in {folder / 'answers'} or named, found: {found}")
    result: dict[str, Any] = {
        "test": key.test,
        "mode": key.mode,
        "raters": [one.rater for one in counted],
        "excluded": sorted(failing - {one.rater for one in counted}),
        "clips": len({item.clip for item in key.items.values()}),
        "settings": key.settings | {"draws": draws, "analysis_seed": seed, "reference": key.reference},
        "scales": {scale.name: statistics(counted, key, scale, draws, seed) for scale in key.scales},
        "failures": [asdict(failure) for failure in failures],
        "faults": faults,
    }
    output = folder if output is None else output
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_finite(result), indent=2, ensure_ascii=False, allow_nan=False)
    (output / "analysis.json").write_text(text + "\n", encoding="utf-8")
    (output / "analysis.md").write_text(summary(result), encoding="utf-8")
    print(summary(result), end="")
    return result


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


def _finite(value: Any) -> Any:
    """The same with null for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
