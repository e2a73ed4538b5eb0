"""The parts of a step are those that it has, and add up to it."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from consistency_tta.training import TimeStepParts
from consistency_tta.training.callbacks import step_parts
from tests.training.runs import data, distillation, trainer

PARTS = {"data", "rest", "teacher", "target", "student", "backward", "optimizer"}


def test_parts_add_up_to_the_step(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = distillation(teacher_folder)
    teacher = module.frozen.teacher.forward
    slow = 0.05

    def wait_first(*args: object, **kwargs: object) -> torch.Tensor:
        end = time.process_time() + slow
        while time.process_time() < end:
            pass
        return teacher(*args, **kwargs)

    monkeypatch.setattr(module.frozen.teacher, "forward", wait_first)
    timing = TimeStepParts(skip=1)
    trainer(tmp_path, max_steps=3, callbacks=[timing]).fit(module, data())
    assert set(timing.seconds) == PARTS | {"step"}
    assert [len(timing.seconds[part]) for part in ("teacher", "step")] == [2, 2]
    for index, total in enumerate(timing.seconds["step"]):
        assert sum(timing.seconds[part][index] for part in PARTS) == pytest.approx(total)
        assert slow < timing.seconds["teacher"][index] < total
    assert not module.student._forward_hooks


class Clock:
    """Time that passes where it is told to, on both of Python's clocks."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def process_time(self) -> float:
        return self.seconds

    def perf_counter(self) -> float:
        return self.seconds


class Slow(nn.Module):
    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def forward(self) -> None:
        self.clock.seconds += self.seconds


#: Seconds of the parts of a step, in their order.
COSTS = {"data": 1, "text": 2, "teacher": 4, "target": 8, "student": 16, "loss": 32, "backward": 64, "optimizer": 128}


def run_steps(timing: TimeStepParts, clock: Clock, module: Any, scales: list[float]) -> None:
    """Steps that take COSTS, each by its own factor."""

    def spend(*names: str) -> None:
        clock.seconds += scale * sum(COSTS[name] for name in names)

    run: Any = SimpleNamespace()
    timing.on_train_start(run, module)
    for index, scale in enumerate(scales):
        spend("data")
        timing.on_train_batch_start()
        spend("text")
        for name in ("teacher", "target", "student"):
            network = slow_network(module, name)
            network.seconds = scale * COSTS[name]
            network()
        spend("loss")
        timing.on_before_backward()
        spend("backward")
        timing.on_after_backward()
        spend("optimizer")
        timing.on_train_batch_end(run, module, None, None, index)
    timing.on_train_end()


def slow_network(module: Any, name: str) -> Slow:
    return {"teacher": module.frozen.teacher, "target": module.target.module, "student": module.student}[name]


def slow_module(clock: Clock) -> Any:
    teacher, target, student = (Slow(clock, 0) for _ in range(3))
    return SimpleNamespace(
        frozen=SimpleNamespace(teacher=teacher), target=SimpleNamespace(module=target), student=student
    )


@pytest.mark.parametrize(("skip", "counted"), [(0, [1, 3, 2]), (2, [2])])
@pytest.mark.parametrize("cuda", [False, True])
def test_each_part_has_its_own_seconds_without_the_first_steps(
    cuda: bool, skip: int, counted: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, waits = Clock(), []
    forbidden = "process_time" if cuda else "perf_counter"
    monkeypatch.setattr(step_parts, "time", clock)
    monkeypatch.setattr(clock, forbidden, None, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(1))
    timing, module = TimeStepParts(skip=skip), slow_module(clock)
    with caplog.at_level("INFO"):
        run_steps(timing, clock, module, [1, 3, 2])
    parts = {name: COSTS[name] for name in ("data", "teacher", "target", "student", "backward", "optimizer")}
    parts |= {"rest": COSTS["text"] + COSTS["loss"], "step": sum(COSTS.values())}
    assert timing.seconds == {name: [scale * seconds for scale in counted] for name, seconds in parts.items()}
    assert len(waits) == (1 + 3 * 10) * cuda  # at the beginning and at each end of a part
    for name, seconds in parts.items():
        assert f"{name} {2 * seconds:.4f}" in caplog.messages[-1]
    clock.seconds += 1
    for name in ("teacher", "target", "student"):
        slow_network(module, name)()
    assert timing._hooks == []
    assert len(waits) == (1 + 3 * 10) * cuda


def test_a_training_without_these_networks_has_the_other_parts(caplog: pytest.LogCaptureFixture) -> None:
    timing, module = TimeStepParts(skip=0), LightningModule()
    timing.on_train_start(SimpleNamespace(), module)
    timing.on_train_batch_start()
    timing.on_train_batch_end(SimpleNamespace(), module, None, None, 0)
    timing.on_train_end()
    assert set(timing.seconds) == {"data", "optimizer", "step"}
