"""From embeddings to the values of a metric, with their confidence intervals."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

from torch import Tensor

from consistency_tta.evaluation.bootstrap import Interval, mean_interval, set_intervals
from consistency_tta.evaluation.clip_embeddings import Collection, UndefinedMetric
from consistency_tta.evaluation.metric_specs import Kind, MetricSpec
from consistency_tta.evaluation.plugin_metrics import find_metric
from consistency_tta.evaluation.protocol import BootstrapSettings, MetricSettings
from consistency_tta.evaluation.result import MetricValue
from consistency_tta.runtime.errors import DataError


@dataclass
class MetricTable:
    """Values of one or more metrics.

    Attributes:
        values: in the order of the metrics.
        per_clip: (N,) by name, of metrics with a value for each clip.
        warnings: what a reader of the values must know.
    """

    values: list[MetricValue] = field(default_factory=list)
    per_clip: dict[str, Tensor] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> float:
        """The value of that name.

        Raises:
            DataError: the metric is undefined for these clips.
        """
        for found in self.values:
            if found.name == name:
                return found.value
        raise DataError(f"expected a value of {name}, got none: {'; '.join(self.warnings)}")

    def extend(self, other: MetricTable) -> None:
        """Add the values of further metrics."""
        self.values += other.values
        self.per_clip |= other.per_clip
        self.warnings += other.warnings


def compute_metric(
    settings: MetricSettings, data: Collection | Tensor, bootstrap: BootstrapSettings | None, seed: int
) -> MetricTable:
    """The values of one metric.

    Args:
        settings: of the metric.
        data: the embeddings of the clips; of a metric of waveforms its values (N,).
        bootstrap: of the confidence intervals; None for none.
        seed: of the bootstrap's draws.

    Returns:
        A table, which has a warning instead of a value where the metric is undefined for these clips.
    """
    spec, table = find_metric(settings.metric), MetricTable()
    draws = bootstrap if settings.interval else None
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if isinstance(data, Collection) and spec.kind is Kind.SET:
                table.values = _of_set(settings, spec, data, draws, seed)
            else:
                each = spec.per_clip(data, **settings.options) if isinstance(data, Collection) else data
                interval = None if draws is None else mean_interval(each, draws, seed)
                mean = float(each.mean())
                table.values = [MetricValue(settings.name, spec.title, spec.higher_is_better, mean, interval)]
                table.per_clip = {settings.name: each}
    except UndefinedMetric as error:
        table.warnings = [f"{settings.name} has no value: {error}"]
        return table
    messages = dict.fromkeys(str(warning.message) for warning in caught if warning.category is UserWarning)
    table.warnings = [f"{settings.name}: {message}" for message in messages]
    return table


def _of_set(
    settings: MetricSettings, spec: MetricSpec, clips: Collection, bootstrap: BootstrapSettings | None, seed: int
) -> list[MetricValue]:
    whole = spec.function(clips, **settings.options)
    intervals: dict[str, Interval] = {}
    try:
        if bootstrap is not None:
            values_of = spec.draw_values(clips, **settings.options)
            intervals = set_intervals(whole, values_of, len(clips), bootstrap, seed)
    except UndefinedMetric as error:
        warnings.warn(f"no interval, since draws of so few clips have no value: {error}", stacklevel=2)
    values = []
    for part, value in whole.items():
        title, name = (spec.title, settings.name) if not part else (f"{spec.title}, {part}", f"{settings.name}/{part}")
        # A value that is neither better when higher nor when lower is the uncertainty of the others.
        neither = part in spec.neither
        better, interval = (None, None) if neither else (spec.higher_is_better, intervals.get(part))
        values.append(MetricValue(name, title, better, value, interval))
    return values
