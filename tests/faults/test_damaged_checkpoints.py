"""A damaged checkpoint of any kind is refused in one line that names file and fault, or gives the same weights.

``make test-faults`` runs it: each kind of damage with four commands, in a process of its own. ``DAMAGE`` is a pattern
of the names of those that are wanted.
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.cli import main
from consistency_tta.pipeline import TextToAudioPipeline
from tests.faults.damaged_checkpoints import kinds
from tests.test_cli import distillation_config, write
from tests.training.runs import differences

COMMANDS = ("fit", "fit last", "validate", "export")
#: Seconds after which a kind is said to hang.
LIMIT = 300


@dataclass
class Lab:
    """A whole checkpoint of step 1, and what the commands make of it.

    Attributes:
        folder: for all files.
        config: of a training of two steps.
        whole: the checkpoint.
        expected: results by command.
        counts: of outcomes by command.
    """

    folder: Path
    config: str
    whole: Path
    expected: dict[str, Any] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def run(self, command: str, file: Path, place: Path) -> Any:
        """What a command makes of a checkpoint: weights and optimizer, a loss, or an exported model's weights."""
        if command == "export":
            main(["export", str(file), "--output", str(place / "model")])
            parts = TextToAudioPipeline.from_pretrained(place / "model").components
            return {name: part.state_dict() for name, part in parts.items() if isinstance(part, torch.nn.Module)}
        root = ["--trainer.default_root_dir", str(place)]
        if command == "validate":
            validated = main(["validate", "--config", self.config, *root, "--ckpt_path", str(file)])
            return validated.trainer.callback_metrics["val/loss"].clone()
        path = "last" if command == "fit last" else str(file)
        trained = main(["fit", "--config", self.config, *root, "--ckpt_path", path])
        assert trained.trainer.global_step == 2
        return [trained.model.state_dict(), trained.trainer.optimizers[0].state_dict()["state"]]


@pytest.fixture(scope="module")
def lab(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("damaged")
    saving = {"class_path": "ModelCheckpoint", "init_args": {"every_n_train_steps": 1, "save_top_k": -1}}
    config = distillation_config(
        teacher_folder, folder / "run", max_steps=2, enable_checkpointing=True, callbacks=[saving], limit_val_batches=1
    )
    lab = Lab(folder, write(config, folder / "config.yaml"), folder / "whole.ckpt")
    main(["fit", "--config", lab.config])
    next(folder.rglob("*step=1.ckpt")).rename(lab.whole)
    for command in ("fit", "validate", "export"):
        lab.expected[command] = lab.run(command, lab.whole, folder / command)
    lab.expected["fit last"] = lab.expected["fit"]
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    yield lab
    for (command, outcome), count in sorted(lab.counts.items()):
        print(f"\n{command}: {count} {outcome}", end="")


def outcome(lab: Lab, command: str, file: Path, place: Path) -> str:
    """``refused``, ``equal``, or what is wrong, in words."""
    try:
        got = lab.run(command, file, place)
    except SystemExit as stopped:
        said = str(stopped.code)
        if stopped.code == 2:  # of the parser
            sys.stderr.flush()
            said = "error: " + (place.parent / "output.txt").read_text().rpartition("error: ")[2].strip()
        if not said.startswith("error: ") or str(file) not in said or said.count("\n") > 1:
            return f"not one line with the file: {said}"
        return "refused"
    except BaseException:
        return traceback.format_exc()[-1500:]
    differing = differences(got, lab.expected[command])
    return f"{len(differing)} differ, such as {differing[0]}" if differing else "equal"


def outcomes(lab: Lab, name: str, writer: Any, place: Path) -> dict[str, str]:
    """Of all commands, of a fork: a process of its own, without seconds of imports."""
    result = place / "outcomes.json"
    process = os.fork()
    if process == 0:
        try:
            with (place / "output.txt").open("w") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                signal.alarm(LIMIT)
                (place / "run").mkdir()
                os.link(lab.whole, place / "run" / "older.ckpt")
                os.utime(place / "run" / "older.ckpt", (1e9, 1e9))
                file = place / "run" / "damaged.ckpt"
                writer(file)
                found = {}
                for command in COMMANDS:
                    there = place / "run" if command == "fit last" else place / command
                    found[command] = outcome(lab, command, file, there)
                    result.write_text(json.dumps(found))
        finally:
            os._exit(0)
    _, status = os.waitpid(process, 0)
    found = json.loads(result.read_text()) if result.exists() else {}
    return {command: found.get(command, f"the process ended with {status}") for command in COMMANDS}


def test_each_kind_of_damage_is_refused_or_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    wrong = {}
    for number, (name, writer) in enumerate(kinds(lab.whole)):
        if not re.search(os.environ.get("DAMAGE", ""), name):
            continue
        (tmp_path / str(number)).mkdir()
        found = outcomes(lab, name, writer, tmp_path / str(number))
        lab.counts.update(found.items())
        print(f"{name}: {found}", flush=True)
        if faults := {command: said for command, said in found.items() if said not in ("refused", "equal")}:
            wrong[name] = faults
    assert wrong == {}
