"""The values of a sweep that are drawn, with the ends of their confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from consistency_tta.evaluation.result import MetricValue
from consistency_tta.runtime.errors import DataError

#: Values without which a sweep has no point.
REQUIRED = ("clap", "frechet")


def drawn_values(names: Mapping[str, str | None], found: Iterable[MetricValue]) -> dict[str, float | None]:
    """``<key>``, ``<key>_low`` and ``<key>_high`` of each metric; None where there is no value, or no interval.

    Diversity has no value where each caption has one sound.

    Args:
        names: of the metrics by the keys of their values; None for a metric that is not computed.
        found: values of the metrics.

    Raises:
        DataError: a value of :data:`REQUIRED` is missing.
    """
    values = {value.name: value for value in found}
    drawn: dict[str, float | None] = {}
    for key, name in names.items():
        value = values.get(name or "")
        if value is None and key in REQUIRED:
            raise DataError(f"expected a value of {name}, got {', '.join(values) or 'none'}")
        interval = None if value is None else value.interval
        drawn[key] = None if value is None else value.value
        drawn[f"{key}_low"] = None if interval is None else interval.low
        drawn[f"{key}_high"] = None if interval is None else interval.high
    return drawn
