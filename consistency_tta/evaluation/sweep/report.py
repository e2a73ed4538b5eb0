"""The page of a sweep: the curves, the table, and what they were measured with."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from consistency_tta.evaluation.report import fact_list, html_table
from consistency_tta.evaluation.sweep.by_protocol import REPORT
from consistency_tta.evaluation.sweep.facts import Scores, measured_with, table_row, warnings_of
from consistency_tta.evaluation.sweep.scores import TIMED
from consistency_tta.reporting.page import page

#: Settings by their titles; those in :data:`_ALWAYS` have a column even where they are all the same.
_SETTINGS = {"steps": "Steps", "guidance_scale": "w", "external_guidance_scale": "External w", "seed": "Seed"}
_ALWAYS = ("steps", "guidance_scale")
#: Figures by their titles and formats.
_FIGURES = {
    "queries": ("Queries", "d"),
    "seconds": ("Seconds per clip", ".3f"),
    "clap": ("CLAP score", ".3f"),
    "frechet": ("Fréchet", ".3f"),
}
#: Of points that no protocol judged.
NO_PROTOCOL = (
    "<b>No protocol</b>: sounds are judged as they are, so these figures compare with each other, not with those of "
    "<code>consistency-tta evaluate</code>. For those of a setting: <code>consistency-tta evaluate --generated FOLDER "
    "--captions FOLDER/captions.csv --reference RECORDINGS --protocol NAME</code>, with its folder of sounds; for "
    "those of all settings sweep with <code>--judge.protocol NAME --judge.real RECORDINGS</code>."
)


def report(points: Sequence[Scores], picture: str) -> str:
    """The whole file.

    Args:
        points: at least one, of one judge and the same captions.
        picture: SVG of them.
    """
    rows = list(map(table_row, points))
    columns = {
        name: (title, "g")
        for name, title in _SETTINGS.items()
        if name in _ALWAYS or len({row[name] for row in rows}) > 1
    } | _FIGURES
    figures = html_table(
        ["Model", *(title for title, _ in columns.values())],
        [(escape(row["model"]), [f"{row[name]:{form}}" for name, (_, form) in columns.items()]) for row in rows],
    )
    return page(
        "Sweep · ConsistencyTTA",
        '<main><header><p class="eyebrow">ConsistencyTTA · sweep</p><h1>Quality, text fit, cost</h1></header>'
        f'<section class="card chart-card">{picture}</section>'
        f"<section>{figures}{_notes(points)}</section>"
        f"<section><h2>Measured with</h2>{fact_list(measured_with(points))}</section></main>",
    )


def _notes(points: Sequence[Scores]) -> str:
    first, errors = points[0], [point["clap_error"] for point in points]
    notes = [
        *map(escape, warnings_of(points)),
        _by(first["judge"]["protocol"]),
        f"{first['generation']['sounds']} sounds in each row, from the same noise in all rows of a seed. The Fréchet "
        "distance is biased upwards, the more so the fewer sounds there are: compare it where there are equally many.",
        f"The standard error of the CLAP score over the sounds is {min(errors):.3f} to {max(errors):.3f}.",
        f"Seconds: the median of {TIMED} sounds made alone on the machine that judged.",
    ]
    return f'<ul class="notes">{"".join(f"<li>{note}</li>" for note in notes)}</ul>'


def _by(protocol: dict[str, Any] | None) -> str:
    if protocol is None:
        return NO_PROTOCOL
    return (
        f"<b>{escape(protocol['name'])}, version {protocol['version']}</b>: figures are those of <code>consistency-tta "
        f"evaluate</code> of each folder of sounds, whose <code>{REPORT}/report.html</code> has all, with intervals."
    )
