"""Writes the arena's table (report.md), its curves (report_<classifier>.svg) and all values (report.json).

python -m tools.arena report --output runs/arena --baseline consistency
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from consistency_tta.runtime.errors import MissingExtraError
from tools.arena.intervals import Estimate
from tools.arena.machine import machine
from tools.arena.metric_values import METRICS
from tools.arena.picture import curves
from tools.arena.results import Key, Row, gather

PERCENT = {"accuracy", "coverage"}


def plain(metric: str, value: float, signed: bool = False) -> str:
    """A value, such as ``77.0`` for an accuracy of 0.77."""
    factor, digits = (100, 1) if metric in PERCENT else (1, 2)
    return f"{factor * value:{'+' if signed else ''}.{digits}f}"


def cell(metric: str, found: Estimate, signed: bool = False) -> str:
    """A value and its interval, such as ``77.0 [73.1, 80.2]``."""
    value, low, high = (plain(metric, x, signed) for x in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def table(heads: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *lines])


def label(key: Key, row: Row) -> list[str]:
    """Name, training seeds, passes, CPU seconds and queries of a row."""
    passes, seconds = row.mean("passes"), row.mean("cpu_seconds")
    cost = ["", ""] if passes is None or seconds is None else [f"{passes / 1000:.1f}", f"{seconds:.0f}"]
    return [key.name, "" if key.reference else str(len(row.evaluations)), *cost, str(key.steps)]


LABELS = ["model", "seeds", "passes, 1000", "CPU seconds", "queries"]


#: Of the short table.
SHORT = ("accuracy", "frechet", "coverage", "diversity")


def last_rows(rows: dict[Key, Row], classifier: str) -> dict[Key, Row]:
    """Those of one classifier, at the end of each budget."""
    chosen = {key: row for key, row in rows.items() if key.classifier == classifier}
    ends = {name: max(key.fraction for key in chosen if key.name == name) for name in {key.name for key in chosen}}
    return {key: row for key, row in chosen.items() if key.fraction == ends[key.name]}


def short_table(rows: dict[Key, Row]) -> str:
    """A line for each model, of at most 100 characters, for a terminal."""
    heads = ["model", "classifier", "queries", "steps", "1000 passes"]
    heads += [f"{METRICS[name][0]}{', %' if name in PERCENT else ''}" for name in SHORT]
    lines = [heads]
    for classifier in sorted({key.classifier for key in rows}):
        for key, row in last_rows(rows, classifier).items():
            steps, passes = row.mean("steps"), row.mean("passes")
            cost = ["", ""] if steps is None or passes is None else [f"{steps:.0f}", f"{passes / 1000:.1f}"]
            found = [plain(name, row.estimates()[name].value) for name in SHORT]
            lines.append([key.name[:26], classifier[:18], str(key.steps), *cost, *found])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def section(rows: dict[Key, Row], classifier: str, real: dict[str, float], reference: str, baseline: str) -> str:
    """The tables of one classifier: values at the end of the budget, and their differences to the baseline."""
    last = last_rows(rows, classifier)
    heads = [*LABELS, *(f"{head}{', %' if name in PERCENT else ''}" for name, (head, _) in METRICS.items())]
    held_out = [plain(name, real[name]) if name in real else "" for name in METRICS]
    lines = [["held out", "", "", "", "", *held_out]] if real else []
    lines += [
        [*label(key, row), *(cell(name, one) for name, one in row.estimates().items())] for key, row in last.items()
    ]
    parts = [f"## Evaluated by {classifier}"]
    parts += [f"Distances compare with {reference}."] if reference else []
    parts.append(table(heads, lines))
    if compared := differences(last, baseline):
        lines = [
            [*label(key, last[key]), *(cell(name, one, signed=True) for name, one in found.items())]
            for key, found in compared.items()
        ]
        parts += [f"### Minus {baseline}, with as many queries, if it has such", table(heads, lines)]
    return "\n\n".join(parts)


def differences(rows: dict[Key, Row], baseline: str) -> dict[Key, dict[str, Estimate]]:
    """Each row's values minus those of the baseline of equal queries, or of its first row."""
    own = {key.steps: row for key, row in rows.items() if key.name == baseline}
    if not own:
        return {}
    first = next(iter(own.values()))
    return {key: row.differences(own.get(key.steps, first)) for key, row in rows.items() if key.name != baseline}


def to_json(key: Key, row: Row) -> dict[str, Any]:
    """All of a row."""
    metrics = {name: asdict(found) for name, found in row.estimates().items()}
    return {**key._asdict(), "metrics": metrics, "snapshots": row.facts, "machines": row.machines}


def main(args: list[str] | None = None) -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(prog="python -m tools.arena report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the arena")
    parser.add_argument(
        "--baseline", default="consistency", help="contestant or reference that others are compared with"
    )
    options = parser.parse_args(args)
    output, rows = options.output, gather(options.output)
    if not rows:
        raise SystemExit(f"error: no evaluations in {output}: run `python -m tools.arena evaluate` first")
    parts, real_by = ["# Arena of objectives"], {}
    parts.append(
        "Means over training seeds; in brackets 95 % intervals over sounds and training seeds. Fréchet distances of "
        "equally many sounds alone are comparable."
    )
    for classifier in sorted({key.classifier for key in rows}):
        file = output / f"recordings_{classifier.split('@')[0]}.json"
        about = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"values": {}}
        real_by[classifier] = about["values"]
        parts.append(section(rows, classifier, about["values"], about.get("reference", ""), options.baseline))
        try:
            drawn = curves(rows, classifier)
        except MissingExtraError as error:  # a machine with an accelerator may not have it; `report` draws later
            print(f"no curves: {error}")
        else:
            (output / f"report_{classifier}.svg").write_text(drawn, encoding="utf-8")
            parts.append(f"![Curves](report_{classifier}.svg)")
    trained = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(output.glob("*/seed*/machine.json"))]
    machines = [one for number, one in enumerate(trained) if one not in trained[:number]]
    lines = [[str(value) for value in one.values()] for one in [*machines, machine()]]
    parts.append("## Machines\nThe last one wrote this report; the others trained.\n\n" + table(list(machine()), lines))
    (output / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    content = {"machine": machine(), "training_machines": machines, "real": real_by}
    content["rows"] = [to_json(key, row) for key, row in rows.items()]
    (output / "report.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(short_table(rows))
    print(output / "report.md")
