"""A training that is killed again and again, each time by SIGKILL, and goes on from its newest checkpoint.

Each attempt is a fork of one process that has imported everything: a real process of its own, without five seconds of
imports.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.checkpoint_file import check_resumable
from consistency_tta.training.checkpoint_search import newest_checkpoint, newest_first

#: Steps between two checkpoints.
EVERY = 10
#: Checkpoints that a run keeps, in addition to last.ckpt.
KEPT = 3
#: Seconds without a step after which an attempt is said to hang.
LIMIT = 120


class StepFile(Callback):
    """Writes a line for each step at once, so that a kill loses none: step, loss, memory in bytes and open files."""

    def __init__(self, file: Path) -> None:
        self.file = file.open("a", buffering=1)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        line = {
            "step": trainer.global_step,
            "loss": float(outputs["loss"]).hex(),
            "clips": batch.ids,
            "memory": pages * os.sysconf("SC_PAGE_SIZE"),
            "files": len(list(Path("/proc/self/fd").iterdir())),
        }
        self.file.write(json.dumps(line) + "\n")


#: Makes a training and its data.
Maker = Callable[[], tuple[TrainingModule, LightningDataModule]]


def train(make: Maker, folder: Path, steps: int) -> None:
    """Train from the newest checkpoint below a folder, or from the beginning."""
    torch.set_num_threads(1)
    saving = ModelCheckpoint(
        filename="{step}", every_n_train_steps=EVERY, monitor="step", mode="max", save_top_k=KEPT, save_last=True
    )
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        default_root_dir=folder,
        logger=CSVLogger(folder, flush_logs_every_n_steps=1),
        log_every_n_steps=1,
        check_val_every_n_epoch=None,
        val_check_interval=40,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[saving, StepFile(folder / "steps.jsonl")],
    )
    start = newest_checkpoint(folder) if newest_first(folder) else None
    module, data = make()
    trainer.fit(module, data, ckpt_path=start, weights_only=True)
    trainer.save_checkpoint(folder / "end.ckpt")


@dataclass
class Report:
    """What happened to a run.

    Attributes:
        kills: in all.
        in_writing: kills that left an unfinished checkpoint.
        torn: files called .ckpt that were not whole after a kill.
        steps: lines of the step file, repeated steps included.
        seconds: of CPU time of all attempts.
    """

    kills: int = 0
    in_writing: int = 0
    torn: int = 0
    steps: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


def die_in_writing(saves: int, share: float) -> None:
    """From now on this process dies within its checkpoint number ``saves``, with a share of its bytes written."""
    save, left = torch.save, [saves]

    def dying(content: Any, stream: Any) -> None:
        left[0] -= 1
        if left[0]:
            save(content, stream)
            return
        whole = io.BytesIO()
        save(content, whole)
        stream.write(whole.getvalue()[: int(share * whole.tell())])
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = dying


def attempt(make: Maker, folder: Path, steps: int, dies_in: tuple[int, float] | None) -> int:
    """Start a process that trains, and perhaps dies as :func:`die_in_writing` describes; returns its id."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            with Path(folder, "output.txt").open("w") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                if dies_in is not None:
                    die_in_writing(*dies_in)
                train(make, folder, steps)
                status = 0
        finally:
            os._exit(status)
    return process


def unfinished(folder: Path) -> list[Path]:
    """Checkpoints that were being written."""
    return [file for file in folder.rglob(".*.partial") if file.is_file()]


def run(make: Maker, folder: Path, steps: int, kills: int = 0, in_writing: int = 0, seed: int = 0) -> Report:
    """Train to the end, killed ``kills`` times at random moments and ``in_writing`` times within a checkpoint."""
    folder.mkdir()
    (folder / "steps.jsonl").touch()
    draws, report = random.Random(seed), Report()
    before = os.times()
    ways = ["random"] * kills + ["writing"] * in_writing
    draws.shuffle(ways)
    for way in [*ways, "end"]:
        dies_in = (draws.randint(1, 5), draws.random()) if way == "writing" else None
        process = attempt(make, folder, steps, dies_in)
        if way == "random":
            _kill(process, folder, draws.randint(0, 3 * steps // (2 * len(ways))), draws.uniform(0, 0.1))
        _, status = os.waitpid(process, 0)
        if (way == "end") != (status == 0) or (status and os.WTERMSIG(status) != signal.SIGKILL):
            raise RuntimeError(f"an attempt ended with status {status}: {(folder / 'output.txt').read_text()[-2000:]}")
        if status:
            report.kills += 1
            report.in_writing += bool(unfinished(folder))
            report.torn += sum(not _is_whole(file) for file in newest_first(folder))
    after = os.times()
    report.seconds = after.children_user + after.children_system - before.children_user - before.children_system
    report.steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    return report


def _kill(process: int, folder: Path, steps: int, seconds: float) -> None:
    """Kill an attempt so many steps, and then seconds, after now."""

    def count() -> int:
        return (folder / "steps.jsonl").read_bytes().count(b"\n")

    until, deadline = count() + steps, time.monotonic() + LIMIT
    while count() < until and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)


def _is_whole(file: Path) -> bool:
    try:
        check_resumable(file)
    except CheckpointError:
        return False
    return True


def metric_values(folder: Path) -> dict[tuple[str, int], set[str]]:
    """All values that the attempts' loggers wrote, by metric and step; a line that a kill cut off is left out."""
    found: dict[tuple[str, int], set[str]] = {}
    for file in folder.rglob("metrics.csv"):
        whole = file.read_text().rpartition("\n")[0]
        for row in csv.DictReader(io.StringIO(whole, newline="")):
            for name, value in row.items():
                if name != "step" and value:
                    found.setdefault((name, int(row["step"])), set()).add(value)
    return found
