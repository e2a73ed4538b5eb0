"""Compares what ``consistency-tta plan`` counts with what real steps on a CPU take.

    python -m tools.plan_accuracy --config lightning_configs/tiny/guidance.yaml --model.teacher tiny-teacher

For the second step of a training: the peak of what is alive, counted without values and of real tensors; and how far
it rises above what is alive between two steps, counted and as the process's resident memory (Linux alone). The rise
leaves out libraries, which the process has in memory, too. ``PRECISION=bf16-mixed`` for another precision.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from consistency_tta.cli.commands import COMMANDS
from consistency_tta.cli.own_commands import config_files, load
from consistency_tta.planning.command import shapes_only
from consistency_tta.planning.counted_step import counted_steps
from consistency_tta.planning.variants import example_batch
from consistency_tta.storage.text import filled_lines

MIB = 2**20


def counted(args: list[str], precision: str) -> dict[str, int]:
    """Bytes of a step without values: the peak, and how far it is above what stays."""
    _, parser = load("plan", COMMANDS["plan"])
    with shapes_only(parser, config_files(args)):
        settings = parser.instantiate(parser.parse_args(args))
        batch = example_batch(settings.model, settings.data, settings.data.batch_size, settings.tokens)
        [peaks] = counted_steps(settings.model, [batch], precision, dict(settings.trainer))
        return {"peak, counted": peaks.peak, "rise, counted": peaks.peak - peaks.persistent}


class ResidentPeak(Callback):
    """How far resident memory rose in the last step."""

    rise = 0

    def on_train_batch_start(self, *_: Any) -> None:
        """Let the kernel's count begin again."""
        Path("/proc/self/clear_refs").write_text("5")
        self.before = resident("VmRSS")

    def on_train_batch_end(self, *_: Any) -> None:
        """Read it."""
        self.rise = resident("VmHWM") - self.before


def real(args: list[str], precision: str) -> dict[str, int]:
    """The same of a real step; the rise is the process's."""
    _, parser = load("plan", COMMANDS["plan"])
    resident_peak = ResidentPeak()
    settings = parser.instantiate(parser.parse_args(args))
    batch = example_batch(settings.model, settings.data, settings.data.batch_size, settings.tokens)
    [peaks] = counted_steps(settings.model, [batch], precision, dict(settings.trainer), [resident_peak])
    return {"peak, real tensors": peaks.peak, "rise, process": resident_peak.rise}


def resident(name: str) -> int:
    """Bytes of an entry of this process's status."""
    lines = dict(line.split(":", 1) for line in filled_lines(Path("/proc/self/status").read_text()))
    return 1024 * int(lines[name].split()[0])


def main(args: list[str] | None = None) -> None:
    """Compare; the real step runs in a process of its own."""
    args = sys.argv[1:] if args is None else args
    precision = os.environ.get("PRECISION", "32-true")
    if args[0] == "--real":
        print(json.dumps(real(args[1:], precision)))
        return
    # Freed memory goes back at once, so that what is resident is what is in use.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    call = [sys.executable, "-m", "tools.plan_accuracy", "--real", *args]
    output = subprocess.run(call, check=True, capture_output=True, text=True, env=environment).stdout
    found = counted(args, precision) | json.loads(filled_lines(output)[-1])
    for name in sorted(found):
        print(f"{name:18} {found[name] / MIB:8.1f} MiB")


if __name__ == "__main__":
    main()
