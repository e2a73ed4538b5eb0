"""What a student starts from: an earlier stage's folder. (All else of distillation: test_consistency.py.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.contracts import Batch, Conditioning
from consistency_tta.pipeline import TextToAudioPipeline
from tests.toys import toy_parts
from tests.training.runs import data, distillation, trainer


@pytest.fixture
def stage_2(teacher_folder: Path, tmp_path: Path) -> Path:
    """A student's folder, trained for a few steps."""
    module = distillation(teacher_folder, average_decay=0.0)
    trainer(tmp_path, max_steps=3).fit(module, data())
    module.pipeline().save_pretrained(tmp_path / "stage_2")
    return tmp_path / "stage_2"


def inputs(module: Any) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    torch.manual_seed(1)
    text = module.embed(Batch(["a tone"] * 2, [""] * 2))
    return torch.randn(2, 4, 8, 4), torch.tensor([1000.0, 300.0]), Conditioning(text, torch.tensor([1.0, 5.0]))


def test_a_later_stage_starts_at_the_earlier_student(stage_2: Path, teacher_folder: Path) -> None:
    module = distillation(teacher_folder, student=str(stage_2))
    earlier = TextToAudioPipeline.from_pretrained(stage_2).denoiser
    arguments = inputs(module)
    expected = earlier(*arguments)
    assert torch.equal(module.student(*arguments), expected)
    for average in module.averages():
        assert torch.equal(average.module(*arguments), expected)
    assert all(parameter.requires_grad for parameter in module.student.parameters())
    # It starts elsewhere than the teacher, which stays what it was.
    teacher = module.frozen.teacher.denoiser
    assert not torch.allclose(teacher(arguments[0], arguments[1], Conditioning(arguments[2].text)), expected, atol=1e-4)


def test_a_student_may_start_from_another_teacher(teacher_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    TextToAudioPipeline(**toy_parts()).save_pretrained(tmp_path)
    module = distillation(teacher_folder, student=str(tmp_path))
    z_t, t, conditioning = inputs(module)
    plain = Conditioning(conditioning.text)
    expected = TextToAudioPipeline.from_pretrained(tmp_path).denoiser(z_t, t, plain)
    torch.testing.assert_close(module.student(z_t, t, conditioning), expected)
    assert not torch.allclose(module.frozen.teacher.denoiser(z_t, t, plain), expected, atol=1e-3)


def test_a_student_of_another_prediction_type_is_refused(stage_2: Path, teacher_folder: Path) -> None:
    with pytest.raises(
        ValueError, match="puts out v_prediction, but prediction_type is sample: set prediction_type to v"
    ):
        distillation(teacher_folder, student=str(stage_2), prediction_type="sample")
    module = distillation(teacher_folder, prediction_type="sample")
    assert module.pipeline().scheduler.config.prediction_type == "sample"


def test_a_folder_without_a_network_is_refused(teacher_folder: Path, tmp_path: Path) -> None:
    parts = toy_parts()
    TextToAudioPipeline(mel=parts["mel"], vae=parts["vae"]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="lacks unet, scheduler"):
        distillation(teacher_folder, student=str(tmp_path))
