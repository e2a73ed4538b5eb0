"""A line of a sweep's curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: A row of ``sweep.csv``.
Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """Points that differ in the guidance scale alone, and how they are drawn."""

    label: str
    rows: Sequence[Row]
    style: dict[str, Any]


def errors(rows: Sequence[Row], key: str) -> list[list[float]] | None:
    """How far the intervals of a value reach below and above it, as matplotlib takes it; None where none has one."""
    bounds = [(row[key], row.get(f"{key}_low"), row.get(f"{key}_high")) for row in rows]
    if all(low is None or high is None for _, low, high in bounds):
        return None
    # An interval whose bias was subtracted may not contain its value.
    below = [0.0 if low is None else max(0.0, value - low) for value, low, _ in bounds]
    above = [0.0 if high is None else max(0.0, high - value) for value, _, high in bounds]
    return [below, above]
