"""The page of a sweep: curves, a table of the settings, and what the values depend on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from consistency_tta.evaluation.sweep.by_protocol import REPORT
from consistency_tta.evaluation.sweep.facts import Scores, measured_with, table_row, warnings_of
from consistency_tta.evaluation.sweep.scores import TIMED
from consistency_tta.evaluation.sweep.sounds import CaptionSounds
from consistency_tta.reporting.page import render_page
from consistency_tta.reporting.table import Table

TEMPLATE = Path(__file__).with_name("sweep.html")
#: Settings by their titles; those in :data:`_ALWAYS` have a column even where they are all the same.
_SETTINGS = {"steps": "Steps", "guidance_scale": "w", "external_guidance_scale": "External w", "seed": "Seed"}
_ALWAYS = ("steps", "guidance_scale")
#: Values by their titles and formats; of the last three with their intervals.
_VALUES = {
    "queries": ("Queries", "d"),
    "seconds": ("Seconds per clip", ".3f"),
    "clap": ("CLAP score", ".3f"),
    "frechet": ("Fréchet", ".3f"),
    "diversity": ("Diversity", ".3f"),
}


def report(points: Sequence[Scores], sounds: Sequence[CaptionSounds], curves: Markup | None, missing: str = "") -> str:
    """The whole page, which reads the sounds from the sweep's folder, where it lies.

    Args:
        points: at least one, of one evaluator and the same captions.
        sounds: to listen to.
        curves: of the points, an SVG element; None if they cannot be drawn.
        missing: why there are no curves.
    """
    first, errors = points[0], [point["clap_error"] for point in points]
    return render_page(
        TEMPLATE,
        curves=curves,
        missing=missing,
        settings=_settings(points),
        warnings=warnings_of(points),
        protocol=first["evaluator"]["protocol"],
        report_folder=REPORT,
        sounds=first["generation"]["sounds"],
        captions=sounds,
        least_error=min(errors),
        largest_error=max(errors),
        no_diversity=all(point["diversity"] is None for point in points),
        timed=TIMED,
        facts=measured_with(points),
    )


def _settings(points: Sequence[Scores]) -> Table:
    """A row for each point."""
    rows = list(map(table_row, points))
    shown = [name for name in _SETTINGS if name in _ALWAYS or len({row[name] for row in rows}) > 1]
    columns = {name: (_SETTINGS[name], "g") for name in shown} | _VALUES
    return Table(
        ["Model", *(title for title, _ in columns.values())],
        [[row["model"], *(_cell(row, name, form) for name, (_, form) in columns.items())] for row in rows],
    )


def _cell(row: dict[str, Any], name: str, form: str) -> str:
    """A value with its interval, where it has one; a dash without a value."""
    value, low, high = row[name], row.get(f"{name}_low"), row.get(f"{name}_high")
    if value is None:
        return "-"
    return f"{value:{form}}" + ("" if low is None or high is None else f" ({low:{form}} to {high:{form}})")
