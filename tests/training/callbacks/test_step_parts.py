"""The parts of a step are those that it has, and add up to it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from consistency_tta.training import TimeStepParts
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
