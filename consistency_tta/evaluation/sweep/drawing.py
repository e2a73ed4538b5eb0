"""The table, the picture and the page of a sweep."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consistency_tta.evaluation.sweep.facts import Scores, measured_with, table_row
from consistency_tta.evaluation.sweep.judge import Judge
from consistency_tta.evaluation.sweep.report import report
from consistency_tta.evaluation.sweep.scores import SCORES, read_scores
from consistency_tta.generation.folder import read_manifest
from consistency_tta.reporting.chart import Line, Panel, chart

#: What the points of a line have in common, beside the model.
_OF_A_LINE = ("steps", "external_guidance_scale", "seed")
#: In which order the table has the points.
_ORDER = ("model", "queries", "steps", "seed", "guidance_scale")


def draw(output: Path, latest: Path, judge: Judge) -> list[Path]:
    """Write the table, the picture and the page of all folders of a sweep that can be compared with the latest."""
    captions = (read_manifest(latest) or {})["captions"]
    points: list[Scores] = []
    others = []
    for file in sorted(output.glob(f"*/*/{SCORES}")):
        scores = read_scores(file.parent, judge)
        if scores is None or scores["generation"]["captions"] != captions:
            others.append(file.parent)
        else:
            points.append(scores)
    if others:
        print(f"left out, as of other captions or judged otherwise: {', '.join(map(str, others))}")
    points.sort(key=lambda point: [table_row(point)[name] for name in _ORDER])
    rows = list(map(table_row, points))
    files = [output / f"sweep.{kind}" for kind in ("csv", "svg", "html")]
    with files[0].open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    picture = _picture(rows, measured_with(points))
    files[1].write_text(picture + "\n", encoding="utf-8")
    files[2].write_text(report(points, picture), encoding="utf-8")
    print(f"{len(rows)} settings compared: {', '.join(map(str, files))}")
    return files


def _picture(rows: Sequence[dict[str, Any]], facts: dict[str, str]) -> str:
    """The curves: a colour for each model, a mark for each number of steps; and what they depend on, as text."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["model"], row["steps"], row["guidance_scale"])):
        groups.setdefault(tuple(row[name] for name in ("model", *_OF_A_LINE)), []).append(row)
    told = [name for name in _OF_A_LINE[1:] if len({row[name] for row in rows}) > 1]
    members: dict[str, int] = {}  # lines of each model so far
    places, legend = [], []
    for group in groups.values():
        first = group[0]
        member = members[first["model"]] = members.get(first["model"], -1) + 1
        family = list(members).index(first["model"])
        places.append((family, member, group))
        queries = " or ".join(str(number) for number in sorted({row["queries"] for row in group}))
        texts = [first["model"], _count(first["steps"], "step", "steps"), _count(queries, "query", "queries")]
        legend.append((family, member, ", ".join([*texts, *(f"{name} {first[name]:g}" for name in told)])))

    def lines(x: str, y: str, labelled: bool = False) -> list[Line]:
        def labels(group: Sequence[dict[str, Any]]) -> list[str]:
            ends = {0, len(group) - 1}
            return [f"w {row['guidance_scale']:g}" if number in ends else "" for number, row in enumerate(group)]

        return [
            Line(family, member, [(row[x], row[y]) for row in group], labels(group) if labelled else ())
            for family, member, group in places
        ]

    scale = "guidance scale w"
    panels = [
        Panel(
            "Text fit",
            f"CLAP score of {rows[0]['clap_network']}; higher is better",
            scale,
            "CLAP score",
            lines("guidance_scale", "clap"),
        ),
        Panel(
            "Quality",
            f"Fréchet distance of {rows[0]['frechet_network']}; lower is better",
            scale,
            "Fréchet distance",
            lines("guidance_scale", "frechet"),
        ),
        Panel("Trade-off", "best at the lower right", "CLAP score", "Fréchet distance", lines("clap", "frechet", True)),
        Panel(
            "Cost",
            "seconds per clip, made alone, decoders included",
            scale,
            "seconds",
            lines("guidance_scale", "seconds"),
            True,
        ),
    ]
    return chart(panels, legend, "\n".join(f"{key}: {value}" for key, value in facts.items()))


def _count(number: object, one: str, several: str) -> str:
    return f"{number} {one if str(number) == '1' else several}"
