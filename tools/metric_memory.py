"""Draws what `tools/metric_speed.py` printed: memory over the number of clips, a line for each metric and network.

    python -m tools.metric_speed > metrics.txt
    .venv-laion/bin/python -m tools.metric_speed --metrics --networks panns=FILE > laion.txt
    python -m tools.metric_memory metrics.txt laion.txt --output docs/pictures/metric_memory.png

Draws with matplotlib (extra ``report``).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from consistency_tta.metrics.encoders import ENCODERS
from consistency_tta.reporting.figure import new_figure, png
from consistency_tta.runtime.errors import DataError

#: A row of the table: name, clips, clips a second, seconds, MB of states, MB of the peak.
ROW = re.compile(r"^\| (\S+) \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| (\d+) \|$", re.MULTILINE)


class Measured(NamedTuple):
    """Of some clips."""

    clips: int
    state_mb: float
    peak_mb: float


def read(tables: Sequence[Path]) -> dict[str, list[Measured]]:
    """What was measured of each metric and network, for rising numbers of clips.

    Raises:
        DataError: there is nothing.
    """
    found: dict[str, list[Measured]] = {}
    for table in tables:
        for name, clips, _, _, state, peak in ROW.findall(table.read_text(encoding="utf-8")):
            found.setdefault(name, []).append(Measured(int(clips), float(state), float(peak)))
    if not found:
        raise DataError(f"expected tables of tools/metric_speed.py in {', '.join(map(str, tables))}, found none")
    return {name: sorted(several) for name, several in found.items()}


def draw(found: dict[str, list[Measured]], output: Path) -> None:
    """Metrics that need but sums, those that keep all clips, and networks, side by side."""
    kinds: dict[str, list[str]] = {
        "Sums are enough": [],
        "All clips are kept": [],
        "Networks, beyond their weights": [],
    }
    for name, several in found.items():
        grows = several[-1].state_mb > several[0].state_mb
        kinds[list(kinds)[2 if name in ENCODERS else 1 if grows else 0]].append(name)
    with new_figure(13, 4) as figure:
        axes = figure.subplots(1, 3)
        for axis, (title, names) in zip(axes, kinds.items(), strict=True):
            for name in names:
                axis.plot([m.clips for m in found[name]], [m.peak_mb for m in found[name]], marker="o", label=name)
            axis.set_title(title, fontsize=10)
            axis.set_ylim(bottom=0)
            axis.set_xlabel("clips")
            axis.legend(fontsize=8)
        axes[0].set_ylim(top=axes[1].get_ylim()[1])
        axes[0].set_ylabel("peak, MB")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(png(figure))


def main(args: list[str] | None = None) -> None:
    """Read and draw."""
    parser = argparse.ArgumentParser(description="Memory of the metrics over the number of clips.")
    parser.add_argument("tables", type=Path, nargs="+", help="what tools/metric_speed.py printed")
    parser.add_argument("--output", type=Path, required=True, help="PNG")
    options = parser.parse_args(args)
    draw(read(options.tables), options.output)


if __name__ == "__main__":
    main()
