"""An analysis in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

METHOD = (
    "Intervals: 95 %, bootstrap over raters and clips (Owen 2007). p: sign flips of the raters' mean differences and "
    "of the clips'; the larger of the two, corrected for the number of pairs (Holm 1979), is the last column. "
    "Agreement: Krippendorff's alpha over all sounds, 1 is perfect, 0 is chance."
)


def summary(result: dict[str, Any]) -> str:
    """The text.

    Args:
        result: what :func:`consistency_tta.listening.analysis.analyse` found.
    """
    raters, clips = len(result["raters"]), result["clips"]
    lines = [f"# Listening test {result['test']}", ""]
    lines += [f"Mode {result['mode']}; {_count(raters, 'rater')}, {_count(clips, 'clip')}.", ""]
    if result["excluded"]:
        lines += [f"Left out, as they failed a check: {_text(', '.join(result['excluded']))}.", ""]
    for name, scale in result["scales"].items():
        lines += [f"## {name.capitalize()}", ""]
        lines += _table(
            ["system", "mean", "95 % interval", "ratings"],
            [
                [_text(system), _number(one["mean"]), _interval(one), str(one["ratings"])]
                for system, one in scale["systems"].items()
            ],
        )
        if scale["differences"]:
            lines += _table(
                ["difference", "mean", "95 % interval", "p, raters", "p, clips", "p, corrected"],
                [
                    [_text(" − ".join(pair["systems"])), _number(pair["mean"]), _interval(pair)]  # noqa: RUF001
                    + [f"{pair[p]:.4f}" for p in ("p_raters", "p_clips", "p")]
                    for pair in scale["differences"]
                ],
            )
        lines += [f"Agreement of the raters ({scale['level']} alpha): {_number(scale['alpha'])}", ""]
    lines += [METHOD, ""]
    if raters < 2 or clips < 2:
        lines += ["With one rater or one clip the intervals say nothing of other raters or clips.", ""]
    if result["failures"]:
        lines += ["## Raters who fail a check", ""]
        lines += [f"- {_text(one['rater'])}: {one['check']} ({one['detail']})" for one in result["failures"]]
        lines.append("")
    if result["faults"]:
        lines += ["## Answers that do not count", "", *(f"- {_text(fault)}" for fault in result["faults"]), ""]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)] + [""]


def _text(text: str) -> str:
    """What came from outside, as text that no Markdown reader takes for anything else."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#&!" else letter for letter in text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.2f}"


def _interval(one: dict[str, float]) -> str:
    return "" if math.isnan(one["low"]) else f"{one['low']:.2f} to {one['high']:.2f}"
