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
