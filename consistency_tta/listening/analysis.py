"""Means, intervals, differences and agreement of the systems of a listening test."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from consistency_tta.listening.answers import collect
from consistency_tta.listening.extra import require_extra
from consistency_tta.listening.key import Key
from consistency_tta.listening.screening import screen
from consistency_tta.listening.statistics import statistics
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
    (output / "analysis.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    (output / "analysis.md").write_text(summary(result), encoding="utf-8", errors="backslashreplace")
    print(summary(result), end="")
    return result


def _finite(value: Any) -> Any:
    """The same with null for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
