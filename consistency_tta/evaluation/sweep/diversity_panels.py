"""Quality and text fit of a sweep against diversity: a point for each setting, with confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from consistency_tta.evaluation.sweep.facts import NO_SOLVER
from consistency_tta.evaluation.sweep.line import Line, Row, errors
from consistency_tta.evaluation.sweep.point_labels import label_points
from consistency_tta.reporting.figure import page_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def has_diversity(rows: Iterable[Row]) -> bool:
    """Whether a row has a value of diversity; it needs two sounds of one caption."""
    return any(row.get("diversity") is not None for row in rows)


def draw_against_diversity(axes: Axes, lines: Sequence[Line], title: str, key: str, label: str) -> None:
    """Draw one value of the rows against diversity.

    Points of teachers, which solve an ODE, are stars; dotted lines through the one with the most queries divide what
    is more and less diverse, and better and worse, than it.

    Args:
        axes: empty.
        lines: of the sweep.
        title: of the panel.
        key: of the value, whose interval is ``<key>_low`` to ``<key>_high``.
        label: of the value.
    """
    points = [(line, row) for line in lines for row in line.rows if row.get("diversity") is not None]
    for line, row in points:
        teacher = _is_teacher(row)
        axes.errorbar(
            row["diversity"],
            row[key],
            xerr=errors([row], "diversity"),
            yerr=errors([row], key),
            color=line.style["color"],
            marker="*" if teacher else line.style["marker"],
            markersize=11 if teacher else 6,
            markerfacecolor=line.style["color"] if teacher else line.style["markerfacecolor"],
            linestyle="none",
            elinewidth=0.8,
            capsize=2,
        )
    if teachers := [row for _, row in points if _is_teacher(row)]:
        reference = max(teachers, key=lambda row: row["queries"])
        style: dict[str, Any] = {"color": page_colours()["muted"], "linestyle": ":", "linewidth": 1, "zorder": 0}
        axes.axvline(reference["diversity"], **style)
        axes.axhline(reference[key], **style)
        axes.set_title("star: teacher", loc="right", fontsize=9, fontweight="normal")
    axes.set(title=title, xlabel="diversity within a caption (higher is better)", ylabel=label)
    label_points(axes, [(row["diversity"], row[key], f"w {row['guidance_scale']:g}") for _, row in points])


def _is_teacher(row: Row) -> bool:
    return row.get("solver", NO_SOLVER) != NO_SOLVER
