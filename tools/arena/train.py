"""Trains each contestant for the same number of network passes, for several seeds; goes on where it was stopped.

    python -m tools.arena train --output runs/arena --latents LATENTS --teacher runs/tiny/guidance/model --seeds 3

Arguments that are not listed are those of `consistency-tta fit`, for all contestants.
"""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from consistency_tta.cli import main as consistency_tta
from consistency_tta.runtime.errors import CheckpointError, ConfigurationError
from consistency_tta.training.checkpoint_search import newest_checkpoint
from tools.arena.configuration import Entry, configuration, find, known
from tools.arena.machine import machine
from tools.arena.snapshots import FACTS

FRACTIONS = [0.1, 0.25, 0.5, 0.75, 1.0]


def entries(output: Path, names: list[str], seeds: list[int]) -> list[Entry]:
    """All trainings: the first seed of each contestant first, so that early stops leave all of them."""
    files = {(file := find(name)).stem: file for name in names}
    return [Entry(name, file, seed, output / name / f"seed{seed}") for seed in seeds for name, file in files.items()]


def finished(entry: Entry, fractions: list[float]) -> bool:
    """Whether the last model was written: at the end of the budget, or of the time (``--unfinished``)."""
    if (entry.models / f"{max(fractions):.2f}" / FACTS).exists():
        return True
    facts = (json.loads(file.read_text(encoding="utf-8")) for file in entry.models.glob(f"*/{FACTS}"))
    return any(one.get("ended_early") for one in facts)  # folders of earlier versions lack it


def train(entry: Entry, config: dict[str, Any], further: list[str]) -> None:
    """Run or resume one training.

    Raises:
        ConfigurationError: if its folder has a training of other settings.
    """
    entry.run.mkdir(parents=True, exist_ok=True)
    file, text = entry.folder / "config.yaml", yaml.safe_dump(config, sort_keys=False)
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise ConfigurationError(f"{file} has other settings than this command: remove {entry.folder} or use another")
    file.write_text(text, encoding="utf-8")
    command = ["fit", "--config", str(file), *further]
    with suppress(CheckpointError):  # there is none yet
        command += ["--ckpt_path", str(newest_checkpoint(entry.run))]
    (entry.folder / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n", encoding="utf-8")
    consistency_tta(command)


def main(args: list[str] | None = None) -> dict[str, str]:
    """Train all; one that fails does not stop the others.

    Returns:
        What went wrong, by ``<contestant>/seed<k>``.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.arena train", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the arena")
    parser.add_argument(
        "--latents", type=Path, required=True, help="folder with train/, as `consistency-tta encode` writes"
    )
    parser.add_argument("--teacher", required=True, help="model folder or bundled name")
    parser.add_argument("--start", help="the student's start; the teacher's weights if not given")
    parser.add_argument("--contestants", default=",".join(known()), help="names or YAML files, separated by commas")
    parser.add_argument("--budget", type=float, default=100_000, help="network passes of each training")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each contestant, of seeds 0, 1, ...")
    parser.add_argument("--fractions", type=float, nargs="+", default=FRACTIONS, help="of the budget, for the curves")
    parser.add_argument("--every", type=int, default=100, help="optimizer steps between checkpoints")
    parser.add_argument("--unfinished", action="store_true", help="keep the model of a training that ends early, too")
    options, further = parser.parse_known_args(args)
    failed = {}
    for entry in entries(options.output, options.contestants.split(","), list(range(options.seeds))):
        if finished(entry, options.fractions):
            print(f"{entry.folder}: finished")
            continue
        config = configuration(
            entry,
            options.latents,
            options.teacher,
            options.start,
            options.budget,
            options.fractions,
            options.every,
            options.unfinished,
        )
        print(f"{entry.folder}: training", flush=True)
        try:
            train(entry, config, further)
        except SystemExit as stopped:
            if isinstance(stopped.code, int) and stopped.code > 128:
                raise  # by a signal
            failed[f"{entry.name}/seed{entry.seed}"] = str(stopped.code)
        except Exception as error:  # the others are still worth their time
            failed[f"{entry.name}/seed{entry.seed}"] = f"{type(error).__name__}: {error}"
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}")
    return failed
