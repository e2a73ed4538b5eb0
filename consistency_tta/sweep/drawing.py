"""The table, the picture and the page of a sweep."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from consistency_tta.chart import Line, Panel, chart
from consistency_tta.generation.folder import read_manifest
from consistency_tta.generation.request import NUMBERS
from consistency_tta.page import page
from consistency_tta.sweep.judge import SCORES, TIMED, Judge

#: What the points of a line have in common, beside the model.
_OF_A_LINE = ("steps", "external_guidance_scale", "seed")


def draw(output: Path, latest: Path, judge: Judge) -> list[Path]:
    """Write the table, the picture and the page of all folders of a sweep that can be compared with the latest."""
    captions = (read_manifest(latest) or {})["captions"]
    rows, others = [], []
    for file in sorted(output.glob(f"*/*/{SCORES}")):
        scores = json.loads(file.read_text(encoding="utf-8"))
        comparable = scores["judge"] == judge.facts and scores["generation"]["captions"] == captions
        if not comparable or scores["generation"] != read_manifest(file.parent):
            others.append(file.parent)
            continue
        named = {name: scores["generation"][name] for name in ("model", *(field.name for field in NUMBERS))}
        rows.append(
            named
            | {key: scores[key] for key in ("queries", "seconds", "clap", "clap_error", "frechet", "clap_is_reward")}
        )
    if others:
        print(f"left out, as of other captions or judged by another: {', '.join(map(str, others))}")
    rows.sort(key=lambda row: (row["model"], *(row[name] for name in ("queries", "steps", "seed", "guidance_scale"))))
    files = [output / f"sweep.{kind}" for kind in ("csv", "svg", "html")]
    with files[0].open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    count = (read_manifest(latest) or {})["sounds"]
    picture = _picture(rows, judge)
    files[1].write_text(picture + "\n", encoding="utf-8")
    files[2].write_text(_page(rows, picture, judge, count), encoding="utf-8")
    print(f"{len(rows)} settings compared: {', '.join(map(str, files))}")
    return files


def _picture(rows: Sequence[dict[str, Any]], judge: Judge) -> str:
    """The curves: a colour for each model, a mark for each number of steps."""
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

    hears, scale = judge.tagger.stem if judge.tagger else judge.clap, "guidance scale w"
    panels = [
        Panel(
            "Text fit",
            f"CLAP score of {judge.clap}; higher is better",
            scale,
            "CLAP score",
            lines("guidance_scale", "clap"),
        ),
        Panel(
            "Quality",
            f"Fréchet distance of {hears}; lower is better",
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
    return chart(panels, legend)


def _count(number: object, one: str, several: str) -> str:
    return f"{number} {one if str(number) == '1' else several}"


def _page(rows: Sequence[dict[str, Any]], picture: str, judge: Judge, count: int) -> str:
    names = {"steps": "Steps", "guidance_scale": "w", "external_guidance_scale": "External w", "seed": "Seed"}
    shown = {
        name: title
        for name, title in names.items()
        if name in ("steps", "guidance_scale") or len({row[name] for row in rows}) > 1
    }
    columns: dict[str, tuple[str, str]] = {name: (title, "g") for name, title in shown.items()}
    columns |= {
        "queries": ("Queries", "d"),
        "seconds": ("Seconds per clip", ".3f"),
        "clap": ("CLAP score", ".3f"),
        "frechet": ("Fréchet", ".3f"),
    }
    head = "".join(f'<th scope="col">{title}</th>' for title, _ in columns.values())
    body = "".join(
        f'<tr><th scope="row">{escape(row["model"])}</th>'
        + "".join(f'<td data-label="{title}">{row[name]:{form}}</td>' for name, (title, form) in columns.items())
        + "</tr>"
        for row in rows
    )
    reference = str(judge.real) if judge.real else f"the statistics beside {judge.clap}"
    notes = [
        f"{count} sounds in each row, from the same noise in all rows. The Fréchet distance to {escape(reference)} is "
        "biased upwards, the more so the fewer sounds there are: compare rows, not papers.",
        f"The standard error of the CLAP score over the sounds is {min(row['clap_error'] for row in rows):.3f} to "
        f"{max(row['clap_error'] for row in rows):.3f}.",
        *(
            f"{escape(judge.clap)} taught {escape(model)}, as a reward: its CLAP score says how well the model "
            "learnt to please it, not how good it is."
            for model in dict.fromkeys(row["model"] for row in rows if row["clap_is_reward"])
        ),
        f"Seconds: the median of {TIMED} sounds made alone on the machine that judged.",
    ]
    return page(
        "Sweep · ConsistencyTTA",
        '<main><header><p class="eyebrow">ConsistencyTTA · sweep</p><h1>Quality, text fit, cost</h1></header>'
        f'<section class="card chart-card">{picture}</section>'
        f'<section><table><thead><tr><th scope="col">Model</th>{head}</tr></thead><tbody>{body}</tbody></table>'
        f'<ul class="notes">{"".join(f"<li>{note}</li>" for note in notes)}</ul></section></main>',
    )
