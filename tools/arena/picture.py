"""Curves of accuracy, Fréchet distance and diversity against network passes."""

from __future__ import annotations

from collections.abc import Mapping

from consistency_tta.reporting.figure import new_figure, require_matplotlib, svg
from tools.arena.intervals import estimate
from tools.arena.metric_values import METRICS
from tools.arena.results import Key, Row

SHOWN = ("accuracy", "frechet", "diversity")


def curves(rows: Mapping[Key, Row], classifier: str, steps: int = 1) -> str:
    """An SVG file: a panel for each metric, a colour for each contestant, a dashed line for each reference.

    Args:
        rows: of :func:`tools.arena.results.gather`.
        classifier: whose values are drawn.
        steps: queries of the students.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    trained = {key: row for key, row in rows.items() if not key.reference and key[3:] == (classifier, steps)}
    names = sorted({key.name for key in trained})
    colours = require_matplotlib().colormaps["tab10" if len(names) <= 10 else "tab20"].colors
    with new_figure(11, 3.6) as figure:
        for panel, metric in zip(figure.subplots(1, len(SHOWN)), SHOWN, strict=True):
            for name, colour in zip(names, colours, strict=False):
                points = [(key.fraction, row) for key, row in trained.items() if key.name == name]
                found = [estimate(row.result(metric)) for _, row in sorted(points, key=lambda point: point[0])]
                passes = [(row.mean("passes") or 0.0) / 1000 for _, row in sorted(points, key=lambda point: point[0])]
                panel.plot(passes, [one.value for one in found], color=colour, marker=".", label=name)
                panel.fill_between(
                    passes, [one.low for one in found], [one.high for one in found], color=colour, alpha=0.12
                )
            for key, row in rows.items():
                if key.reference and key.classifier == classifier:
                    value = estimate(row.result(metric)).value
                    panel.axhline(value, linestyle="--", linewidth=1, color="0.4")
                    panel.annotate(
                        f"{key.name}, {key.steps}", (1, value), xycoords=("axes fraction", "data"), ha="right"
                    )
            panel.set(title=METRICS[metric][0], xlabel="network passes, thousands")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
        return svg(figure, f"{', '.join(METRICS[metric][0] for metric in SHOWN)} against network passes, {classifier}")
