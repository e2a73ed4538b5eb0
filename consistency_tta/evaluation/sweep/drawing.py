"""The table, the curves and the page of a sweep."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from consistency_tta.evaluation.sweep.curves import sweep_curves
from consistency_tta.evaluation.sweep.facts import Scores, measured_with, table_row
from consistency_tta.evaluation.sweep.options import EvaluatorOptions
from consistency_tta.evaluation.sweep.report import report
from consistency_tta.evaluation.sweep.scores import SCORES, read_scores
from consistency_tta.evaluation.sweep.sounds import caption_sounds
from consistency_tta.generation.folder import read_manifest
from consistency_tta.reporting.figure import inline_svg
from consistency_tta.runtime.errors import MissingExtraError

#: Order of the rows.
_ORDER = ("model", "queries", "steps", "seed", "guidance_scale")


def draw(output: Path, latest: Path, evaluator: EvaluatorOptions) -> list[Path]:
    """Write ``sweep.csv``, ``sweep.svg`` and ``sweep.html`` of the points of a sweep that compare with the latest.

    Without matplotlib ``sweep.svg`` is left out, and the page has the command that installs it.

    Args:
        output: folder of the sweep.
        latest: folder of sounds whose captions count.
        evaluator: whose scores count.

    Returns:
        The files.
    """
    found = _points(output, latest, evaluator)
    points = [scores for _, scores in found]
    sounds = caption_sounds(found, output)
    files = [_write_table(points, output / "sweep.csv")]
    picture, page = output / "sweep.svg", output / "sweep.html"
    picture.unlink(missing_ok=True)  # else one of earlier points could stay
    try:
        curves = sweep_curves(list(map(table_row, points)), measured_with(points))
    except MissingExtraError as error:
        page.write_text(report(points, sounds, None, f"{error}, then run the same command again."), encoding="utf-8")
    else:
        picture.write_text(curves, encoding="utf-8")
        page.write_text(report(points, sounds, inline_svg(curves)), encoding="utf-8")
        files.append(picture)
    files.append(page)
    print(f"{len(points)} settings compared: {', '.join(map(str, files))}")
    return files


def _points(output: Path, latest: Path, evaluator: EvaluatorOptions) -> list[tuple[Path, Scores]]:
    """Folders with scores of the latest's captions by this evaluator, in the order of the table."""
    captions = (read_manifest(latest) or {})["captions"]
    points: list[tuple[Path, Scores]] = []
    others = []
    for file in sorted(output.glob(f"*/*/{SCORES}")):
        scores = read_scores(file.parent, evaluator)
        if scores is None or scores["generation"]["captions"] != captions:
            others.append(file.parent)
        else:
            points.append((file.parent, scores))
    if others:
        print(f"left out, as of other captions or of another evaluation: {', '.join(map(str, others))}")
    return sorted(points, key=lambda point: [table_row(point[1])[name] for name in _ORDER])


def _write_table(points: Sequence[Scores], file: Path) -> Path:
    rows = list(map(table_row, points))
    with file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return file
