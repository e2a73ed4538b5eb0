"""The evaluations in an arena's folder, gathered by contestant, fraction of the budget, queries and classifier."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tools.arena.intervals import Estimate, Result, difference, estimate
from tools.arena.metric_values import METRICS
from tools.arena.snapshots import FACTS


class Key(NamedTuple):
    """What a row of the report describes.

    Attributes:
        name: of the contestant or reference.
        reference: whether it was not trained here.
        fraction: of the budget; 1 for references, and for the end of a training that ended before its budget was spent.
        classifier: with the codec's name, if another one decoded.
        steps: queries of a student, or steps of a teacher's solver.
    """

    name: str
    reference: bool
    fraction: float
    classifier: str
    steps: int


@dataclass
class Row:
    """All training seeds and noise seeds of a key.

    Attributes:
        evaluations: values and halves by training seed, a list over noise seeds.
        facts: of the snapshots, by training seed: passes, cpu_seconds, steps.
        machines: that made them, each once.
    """

    evaluations: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    machines: list[dict[str, Any]] = field(default_factory=list)

    def result(self, metric: str) -> Result:
        """A metric's values and halves, means over the noise seeds."""
        values, halves = {}, {}
        for seed, found in self.evaluations.items():
            values[seed] = sum(one["values"][metric] for one in found) / len(found)
            together = zip(*(one["halves"][metric] for one in found), strict=True)
            halves[seed] = [sum(each) / len(found) for each in together]
        return Result(values, halves)

    def estimates(self) -> dict[str, Estimate]:
        """Each metric with its interval."""
        return {metric: estimate(self.result(metric)) for metric in METRICS}

    def differences(self, baseline: Row) -> dict[str, Estimate]:
        """Each metric minus that of another row."""
        return {metric: difference(self.result(metric), baseline.result(metric)) for metric in METRICS}

    def mean(self, fact: str) -> float | None:
        """Of the snapshots; None for a reference."""
        found = [facts[fact] for facts in self.facts.values()]
        return sum(found) / len(found) if found else None


def gather(output: Path) -> dict[Key, Row]:
    """All rows of an arena, references first, in the order of their names."""
    rows: dict[Key, Row] = defaultdict(Row)
    for file in sorted(output.glob("references/*/evaluation/*.json")):
        add(rows, file, file.parts[-3], True, {}, "0")
    for snapshot in sorted(output.glob(f"*/seed*/models/*/{FACTS}")):
        facts = json.loads(snapshot.read_text(encoding="utf-8"))
        name, seed = snapshot.parts[-5], snapshot.parts[-4].removeprefix("seed")
        for file in sorted((snapshot.parent / "evaluation").glob("*.json")):
            add(rows, file, name, False, facts, seed)
    return dict(sorted(rows.items(), key=lambda item: (not item[0].reference, *item[0])))


def add(
    rows: dict[Key, Row], file: Path, name: str, reference: bool, facts: dict[str, Any], training_seed: str
) -> None:
    """Add the evaluation in a file to its row."""
    found = json.loads(file.read_text(encoding="utf-8"))
    sampling = found["sampling"]
    classifier = file.stem.rsplit("_w", 1)[0]
    fraction = 1.0 if facts.get("ended_early") else facts.get("fraction", 1.0)
    row = rows[Key(name, reference, fraction, classifier, sampling["steps"])]
    row.evaluations[training_seed].append(found)
    if facts:
        row.facts[training_seed] = facts
    if found["machine"] not in row.machines:
        row.machines.append(found["machine"])
