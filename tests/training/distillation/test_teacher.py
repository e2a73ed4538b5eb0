"""The frozen teacher's precision, and targets without a copy of the student."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.runs import Losses, data, distillation, trainer


def test_the_teacher_is_kept_in_the_trainers_precision_and_nothing_else_is(
    teacher_folder: Path, tmp_path: Path
) -> None:
    module = distillation(teacher_folder)
    trainer(tmp_path, max_steps=1, precision="bf16-mixed").fit(module, data())
    denoiser = module.frozen.teacher.denoiser
    assert {parameter.dtype for parameter in denoiser.network.parameters()} == {torch.bfloat16}
    assert denoiser.schedule.table.dtype == torch.float32
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    exported = module.pipeline()
    for part in (exported.unet, exported.vae, exported.text_encoder):
        assert next(part.parameters()).dtype == torch.float32


def test_without_a_decay_the_student_is_its_own_target(teacher_folder: Path, tmp_path: Path) -> None:
    losses = []
    for decay in (0.0, None):
        torch.manual_seed(0)
        module, notes = distillation(teacher_folder, target_ema_decay=decay, teacher_steps=0), Losses()
        trainer(tmp_path, max_steps=3, callbacks=[notes]).fit(module, data())
        losses.append(notes.values)
        assert (module.target is None) == (decay is None)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
