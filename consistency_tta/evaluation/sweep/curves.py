"""The curves of a sweep: text fit, quality and cost against the guidance scale, and both against diversity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consistency_tta.evaluation.sweep.diversity_panels import draw_against_diversity, has_diversity
from consistency_tta.evaluation.sweep.line import Line, Row, errors
from consistency_tta.reporting.figure import new_figure, page_colours, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Names in ``page.css`` of the models' colours; marks and dashes of the lines of a model.
_COLOURS, _MARKS, _DASHES = ("a", "c", "d", "b"), "osD^v", ("-", "--", ":", "-.")
#: What the points of a line have in common, besides the model.
_OF_A_LINE = ("steps", "external_guidance_scale", "seed")
#: Longest entry of a legend in two columns.
_LONG = 55


def sweep_curves(rows: Sequence[Row], facts: dict[str, str]) -> str:
    """The text of an SVG file: a colour for each model, a mark for each number of steps.

    The panels of diversity are left out if no row has a value of it.

    Args:
        rows: of ``sweep.csv``, at least one.
        facts: what the values depend on, for the file's metadata.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    lines = group_lines(rows)
    clap, frechet = (Path(rows[0][f"{key}_network"]).name for key in ("clap", "frechet"))
    score, distance, scale = "CLAP score (higher is better)", "Fréchet distance (lower is better)", "guidance scale w"
    columns = 1 if max(len(line.label) for line in lines) > _LONG else 2
    panels = 3 if has_diversity(rows) else 2  # in each of two columns
    with new_figure(9.8, 3.6 * panels + 0.2 * len(lines) / columns) as figure:
        axes = figure.subplots(panels, 2, gridspec_kw={"hspace": 0.06})
        _panel(axes[0, 0], lines, f"Text fit, by {clap}", ("guidance_scale", "clap"), (scale, score))
        _panel(axes[0, 1], lines, f"Quality, by {frechet}", ("guidance_scale", "frechet"), (scale, distance))
        _panel(axes[1, 0], lines, "Trade-off: best at the lower right", ("clap", "frechet"), (score, distance))
        _panel(
            axes[1, 1], lines, "Cost: one clip at a time", ("guidance_scale", "seconds"), (scale, "seconds per clip")
        )
        _mark_smallest_scale(axes[1, 0], lines)
        _logarithmic(axes[1, 1], [row["seconds"] for row in rows])
        if panels > 2:
            draw_against_diversity(axes[2, 0], lines, f"Quality and diversity, by {frechet}", "frechet", distance)
            draw_against_diversity(axes[2, 1], lines, "Text fit and diversity", "clap", score)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=columns, handlelength=4)
        return svg(figure, "\n".join(f"{key}: {value}" for key, value in facts.items()))


def group_lines(rows: Sequence[Row]) -> list[Line]:
    """The lines of a sweep, each in the order of its guidance scales."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["model"], row["steps"], row["guidance_scale"])):
        groups.setdefault(tuple(row[name] for name in ("model", *_OF_A_LINE)), []).append(row)
    varied = [name for name in _OF_A_LINE[1:] if len({row[name] for row in rows}) > 1]
    members: dict[str, int] = {}  # lines of each model so far
    lines = []
    for group in groups.values():
        first = group[0]
        model, member = first["model"], members.get(first["model"], 0)
        members[model] = member + 1
        family = list(members).index(model)
        queries = " or ".join(map(str, sorted({row["queries"] for row in group})))
        texts = [model, _count(first["steps"], "step", "steps"), _count(queries, "query", "queries")]
        style = {
            "color": page_colours()[_COLOURS[family % len(_COLOURS)]],
            "marker": _MARKS[member % len(_MARKS)],
            "linestyle": _DASHES[member % len(_DASHES)],
            "markerfacecolor": page_colours()["card"],
        }
        label = ", ".join([*texts, *(f"{name} {first[name]:g}" for name in varied)])
        lines.append(Line(label, group, style))
    return lines


def _panel(axes: Axes, lines: Sequence[Line], title: str, keys: tuple[str, str], labels: tuple[str, str]) -> None:
    """Draw one value of the rows against another, with bars where they have confidence intervals."""
    for line in lines:
        x, y = ([row[key] for row in line.rows] for key in keys)
        x_errors, y_errors = (errors(line.rows, key) for key in keys)
        axes.errorbar(x, y, y_errors, x_errors, label=line.label, elinewidth=0.8, capsize=2, **line.style)
    axes.set(title=title, xlabel=labels[0], ylabel=labels[1])


def _mark_smallest_scale(axes: Axes, lines: Sequence[Line]) -> None:
    """Fill the mark where a line of the trade-off begins."""
    for line in lines:
        axes.plot(line.rows[0]["clap"], line.rows[0]["frechet"], line.style["marker"], color=line.style["color"])
    axes.set_title("filled: smallest w", loc="right", fontsize=9, fontweight="normal")


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic y axis with plain numbers at 1, 2 and 5 times the powers of ten."""
    axes.set_yscale("log", subs=[])
    axes.set_ylim(min(values) / 2, 2 * max(values))  # so that at least one of them is in it
    axes.yaxis.set_major_locator(_log_locator())
    axes.yaxis.set_major_formatter("{x:g}")


def _log_locator() -> Any:
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1, 2, 5))


def _count(number: object, one: str, several: str) -> str:
    return f"{number} {one if str(number) == '1' else several}"
