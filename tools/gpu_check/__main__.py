"""The command ``python -m tools.gpu_check``."""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

from tools.gpu_check.parity import generation, steps
from tools.gpu_check.runner import Check, Setting, run_check, table
from tools.gpu_check.runs import resuming, skipping, waiting
from tools.gpu_check.speed import compiled_step_time, machine, queries, step_time

#: In the order in which they run: what matters most first, should time run out.
CHECKS = (
    Check(machine, 60),
    Check(generation, 45),
    Check(steps, 75),
    Check(waiting, 60),
    Check(step_time, 80),
    Check(queries, 70),
    Check(resuming, 40),
    Check(skipping, 30),
    Check(compiled_step_time, 120),
)


def main(args: list[str] | None = None) -> int:
    """Run the checks, write JSON, print the table last; 0 if no row failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_check", description="Checks on an accelerator.")
    parser.add_argument("--output", type=Path, required=True, help="folder for gpu_check.json and a log")
    parser.add_argument("--size", choices=["full", "tiny"], default="full", help="of the networks that are timed")
    parser.add_argument("--device", default="cuda", help="torch's name")
    parser.add_argument("--minutes", type=float, default=7.5, help="for everything")
    parser.add_argument("--quick", action="store_true", help="the fewest repetitions, for tests")
    parser.add_argument("--check", nargs="+", choices=[check.name for check in CHECKS], help="these alone")
    options = parser.parse_args(args)
    os.environ["HF_HUB_OFFLINE"] = "1"
    options.output.mkdir(parents=True, exist_ok=True)
    started, rows = time.monotonic(), []
    setting = Setting(options.device, options.size == "full", options.quick)
    for check in CHECKS:
        if options.check and check.name not in options.check:
            continue
        left = 60 * options.minutes - (time.monotonic() - started)
        for row in run_check(check, setting, max(0.0, min(check.seconds, left)), options.output / "log.txt"):
            rows.append(row)
            # At once, so that a call that is cut off leaves its rows.
            (options.output / "gpu_check.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
            print(row.status, row.name, row.value, f"({time.monotonic() - started:.0f} s)", sep=" | ", flush=True)
    print(table(f"gpu_check on {setting.device}, {time.monotonic() - started:.0f} s", rows), flush=True)
    return int(any(row.bad for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
