"""A training killed by SIGKILL dozens of times ends bit for bit as one that was left alone, and leaks nothing.

``make test-faults`` runs it: a distillation with 50 kills at random moments and 10 within checkpoints, and a soak of
2,000 steps with 40 kills.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import pytest
import torch
from lightning.pytorch import LightningDataModule

from consistency_tta.training.base import TrainingModule
from tests.faults.killed_run import EVERY, KEPT, Report, metric_values, run, unfinished
from tests.training.runs import data, differences, distillation
from tests.training.test_position import Toy
from tests.training.test_position import data as toy_data


@dataclass(frozen=True)
class Case:
    """A training, how long it is, and how often it is killed, within checkpoints and at random."""

    name: str
    steps: int
    kills: int
    in_writing: int

    def make(self, teacher: Path) -> tuple[TrainingModule, LightningDataModule]:
        return (distillation(teacher), data()) if self.name == "distillation" else (Toy(), toy_data())


@dataclass
class Pair:
    """The same training left alone and killed."""

    case: Case
    folder: Path
    straight: Report
    killed: Report


#: A distillation with averages, a target, and losses; and a long soak of one layer.
CASES = (Case("distillation", 400, 50, 10), Case("soak", 2000, 30, 10))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def pair(request: pytest.FixtureRequest, teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    case, folder = request.param, tmp_path_factory.mktemp("faults")
    make = partial(case.make, teacher_folder)
    straight = run(make, folder / "straight", case.steps)
    killed = run(make, folder / "killed", case.steps, case.kills, case.in_writing)
    print(
        f"\n{case.name}, {case.steps} steps: {killed.kills} kills, {killed.in_writing} within a checkpoint; "
        f"{len(killed.steps)} steps computed; torn files: {killed.torn}; CPU: {straight.seconds:.0f} s left alone, "
        f"{killed.seconds:.0f} s killed"
    )
    return Pair(case, folder, straight, killed)


def test_as_many_kills_as_wanted(pair: Pair) -> None:
    assert pair.killed.kills == pair.case.kills + pair.case.in_writing
    assert pair.killed.in_writing >= pair.case.in_writing


def test_no_checkpoint_was_ever_torn(pair: Pair) -> None:
    assert pair.killed.torn == 0


def test_weights_averages_optimizer_and_position_are_bit_identical(pair: Pair) -> None:
    one, other = (torch.load(pair.folder / name / "end.ckpt", weights_only=True) for name in ("straight", "killed"))
    for name in ("state_dict", "optimizer_states", "lr_schedulers", "position", "epoch", "global_step"):
        assert differences(one[name], other[name], name) == []


def test_each_step_had_the_same_clips_and_loss(pair: Pair) -> None:
    expected = {line["step"]: (line["loss"], line["clips"]) for line in pair.straight.steps}
    assert sorted(expected) == list(range(1, pair.case.steps + 1))
    assert {line["step"] for line in pair.killed.steps} == set(expected)
    assert [line for line in pair.killed.steps if expected[line["step"]] != (line["loss"], line["clips"])] == []


def test_logged_metrics_are_the_same(pair: Pair) -> None:
    expected, found = metric_values(pair.folder / "straight"), metric_values(pair.folder / "killed")
    assert {name for name, _ in expected} >= {"train/loss", "val/loss", "train/skipped_steps"}
    assert {key: values for key, values in found.items() if values != expected.get(key)} == {}
    # Lightning logs and validates after it has saved the step's checkpoint: a kill in between loses these lines.
    lost = {step for _, step in expected.keys() - found.keys()}
    assert all((step + 1) % EVERY == 0 for step in lost)
    assert len(lost) <= pair.killed.kills


def test_memory_handles_and_folders_stay_flat(pair: Pair) -> None:
    for report, name in ((pair.straight, "straight"), (pair.killed, "killed")):
        part = pair.case.steps // 10
        early, late = report.steps[part : 2 * part], report.steps[-part:]
        memory = [median(line["memory"] for line in lines) / 1e6 for lines in (early, late)]
        files = [median(line["files"] for line in lines) for lines in (early, late)]
        checkpoints = list((pair.folder / name).rglob("*.ckpt"))
        logs = [file for file in (pair.folder / name).rglob("*") if file.is_file() and file.suffix != ".ckpt"]
        size = sum(file.stat().st_size for file in logs)
        print(
            f"\n{pair.case.name}, {name}: memory {memory[0]:.1f} -> {memory[1]:.1f} MB, open files {files[0]:.0f} -> "
            f"{files[1]:.0f}, {len(checkpoints)} checkpoints, {len(logs)} other files of {size:,} bytes"
        )
        assert memory[1] - memory[0] < 20
        assert files[1] <= files[0] + 1
        assert size < 1000 * len(report.steps)
        assert not unfinished(pair.folder / name)
    assert len(list((pair.folder / "straight").rglob("step=*.ckpt"))) == KEPT
    assert len(list((pair.folder / "killed").rglob("last.ckpt"))) <= pair.killed.kills + 1
