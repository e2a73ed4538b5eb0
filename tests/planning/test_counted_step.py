"""A step that is counted without values needs what a real one needs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from consistency_tta.planning.assumed_values import AssumedValues, CopiedTensors
from consistency_tta.planning.counted_step import StepPeaks, counted_steps
from consistency_tta.planning.parts import parts
from consistency_tta.planning.sharded import divided_networks, gathered_at_once, largest_block, networks, sharded_bytes
from consistency_tta.planning.without_weights import UnloadedModels
from consistency_tta.training import FullySharded
from tests.training.runs import batch, distillation


def real(folder: Path, rows: int) -> StepPeaks:
    return counted_steps(distillation(folder), [batch(rows)], "32-true", {})[0]


def without_values(folder: Path, rows: int) -> StepPeaks:
    examples = batch(rows)
    with FakeTensorMode(allow_non_fake_inputs=True), AssumedValues(), CopiedTensors():
        with UnloadedModels(lambda _: None).installed():
            module = distillation(folder)
        return counted_steps(module, [examples], "32-true", {})[0]


def test_a_step_without_values_counts_what_a_real_step_counts(teacher_folder: Path) -> None:
    expected, got = real(teacher_folder, 4), without_values(teacher_folder, 4)
    for phase in ("persistent", "forward", "backward", "optimizer"):
        assert getattr(got, phase) == pytest.approx(getattr(expected, phase), rel=0.03)


def test_the_teacher_takes_half_in_bfloat16(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    teacher = sum(map(number_of_bytes, networks(module.frozen.teacher)))
    [single] = counted_steps(module, [batch(2)], "32-true", {})
    [half] = counted_steps(distillation(teacher_folder), [batch(2)], "bf16-mixed", {})
    assert single.persistent - half.persistent == pytest.approx(teacher / 2, rel=0.01)


def test_between_steps_there_are_weights_gradients_and_moments(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    found = parts(module)
    [peaks] = counted_steps(module, [batch(2)], "32-true", {})
    state = sum(part.size for part in found.values()) + 3 * found["trained: student"].size
    assert peaks.persistent == pytest.approx(state, rel=0.05)


class Stop(Callback):
    """Sends SIGTERM to this process within a step."""

    def on_train_batch_start(self, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_a_plan_without_a_checkpoint(teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Any] = []
    monkeypatch.setattr(Trainer, "save_checkpoint", lambda *args, **kwargs: saved.append(args))
    with pytest.raises(SystemExit) as ended:
        counted_steps(distillation(teacher_folder), [batch(2)], "32-true", {}, [Stop()])
    assert ended.value.code == 143
    assert not saved


def test_backbones_are_what_is_sharded(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    student, frozen = number_of_bytes(module.student.network), number_of_bytes(module.frozen.teacher)
    # The student with gradients and moments, its two averages, and the teacher.
    backbones = divided_networks(module, "fsdp2")
    assert sharded_bytes(backbones) == 6 * student + frozen
    assert 0 < largest_block(backbones) < student
    others = sum(map(number_of_bytes, (module.frozen.text, module.frozen.codec)))
    strategy = FullySharded(shard_text_encoder=True, shard_codec=True)
    assert sharded_bytes(divided_networks(module, strategy)) == 6 * student + frozen + others


def number_of_bytes(network: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())


def test_a_unit_is_gathered_without_the_units_inside_it() -> None:
    inner, deeper = nn.Linear(3, 5, bias=False), nn.Linear(7, 2, bias=False)
    outer = nn.Sequential(inner, nn.Sequential(deeper), nn.Linear(1, 4, bias=False))
    assert gathered_at_once([outer, inner, outer[1], deeper]) == [4 * 14, 0, 4 * 15, 4 * 4]
