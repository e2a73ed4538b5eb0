"""What a student starts from: an earlier stage's folder. (All else of distillation: test_consistency.py.)"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consistency_tta.contracts import Conditioning
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from tests.toys import toy_parts
from tests.training.runs import batch, data, distillation, guidance, in_training, inputs, query_sizes, rng, trainer


def stage_1(teacher_folder: Path, folder: Path, guidance_range: tuple[float, float], w_matters: float = 0.0) -> Path:
    """The folder of a teacher that needs one query, and answers conditionally at every w, or differently at each."""
    parts = guidance(teacher_folder, guidance_scale=guidance_range).pipeline()
    torch.nn.init.normal_(parts.unet.class_embedding.linear_2.weight, std=w_matters)
    parts.save_pretrained(folder)
    return folder


@pytest.fixture
def stage_2(teacher_folder: Path, tmp_path: Path) -> Path:
    """A student's folder, trained for a few steps."""
    module = distillation(teacher_folder, ema_decay=0.0)
    trainer(tmp_path, max_steps=3).fit(module, data())
    module.pipeline().save_pretrained(tmp_path / "stage_2")
    return tmp_path / "stage_2"


def test_a_later_stage_starts_at_the_earlier_student(stage_2: Path, teacher_folder: Path) -> None:
    module = distillation(teacher_folder, student=str(stage_2))
    earlier = TextToAudioPipeline.from_pretrained(stage_2).denoiser
    arguments = inputs(module)
    expected = earlier(*arguments)
    assert torch.equal(module.student(*arguments), expected)
    for average in module.emas():
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
    with pytest.raises(ConfigurationError, match="sample"):
        distillation(teacher_folder, student=str(stage_2), prediction_type="sample")
    module = distillation(teacher_folder, prediction_type="sample")
    assert module.pipeline().scheduler.config.prediction_type == "sample"


def test_a_folder_without_a_network_is_refused(teacher_folder: Path, tmp_path: Path) -> None:
    parts = toy_parts()
    TextToAudioPipeline(mel=parts["mel"], vae=parts["vae"]).save_pretrained(tmp_path)
    with pytest.raises(ModelFolderError, match="unet"):
        distillation(teacher_folder, student=str(tmp_path))


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_a_stage_1_folder_is_a_start(prediction_type: str, teacher_folder: Path, tmp_path: Path) -> None:
    """Of its own prediction type, or of the paper's student, which reads the very weights as an output of z_0."""
    folder = stage_1(teacher_folder, tmp_path, (0.0, 6.0), w_matters=1.0)
    module = distillation(teacher_folder, student=str(folder), prediction_type=prediction_type)
    z_t, t, conditioning = inputs(module)
    started = TextToAudioPipeline.from_pretrained(folder).denoiser
    raw = module.student.predict(z_t, t, conditioning)
    assert torch.equal(raw, started.predict(z_t, t, conditioning))
    assert torch.equal(module.student(z_t, t, conditioning), raw) == (prediction_type == "sample")
    other = Conditioning(conditioning.text, conditioning.guidance_scale - 2)
    assert not torch.allclose(module.student(z_t, t, other), module.student(z_t, t, conditioning), atol=1e-3)
    assert module.pipeline().sampler.one_query
    with pytest.raises(ConfigurationError, match="epsilon"):
        distillation(teacher_folder, student=str(folder), prediction_type="epsilon")


def test_a_stage_1_teacher_gives_what_guidance_gives_at_half_the_queries(teacher_folder: Path, tmp_path: Path) -> None:
    """An untrained one is exact at w = 1, where the guided answer is the conditional one."""
    one_query = stage_1(teacher_folder, tmp_path, (0.0, 6.0))
    made = {}
    for folder in (teacher_folder, one_query):
        module = distillation(folder, guidance_scale=1.0, teacher_trajectory_fraction=0.3, teacher_steps=3)
        rows = query_sizes(module.frozen.teacher.unet if folder == one_query else module.frozen.teacher.denoiser.unet)
        loss = in_training(module, tmp_path).loss(batch(16), rng())
        gap = module.objective.metrics(module.step(batch(4), rng()), module.networks(averaged=True))
        made[folder] = float(loss), float(gap["teacher_distance"]), sum(rows)
    assert made[one_query][:2] == pytest.approx(made[teacher_folder][:2], rel=1e-3)
    assert 2 * made[one_query][2] == made[teacher_folder][2]


def test_a_stage_1_teacher_reads_the_guidance_scale_and_stays_what_it_is(teacher_folder: Path, tmp_path: Path) -> None:
    folder = stage_1(teacher_folder, tmp_path, (1.0, 5.0), w_matters=1.0)
    module = distillation(folder, guidance_scale=(1.0, 5.0))
    scales: list[torch.Tensor] = []
    module.frozen.teacher.guidance_embedding.register_forward_pre_hook(lambda _module, args: scales.append(args[0]))
    trainer(tmp_path, max_steps=3).fit(module, data())
    w = torch.cat(scales)
    assert w.min() >= 1
    assert w.max() <= 5
    assert len(w.unique()) > 4
    # Its student started as a copy, and has moved away from it.
    z_t, t, conditioning = inputs(module)
    expected = TextToAudioPipeline.from_pretrained(folder).denoiser(z_t, t, conditioning)
    assert torch.equal(module.frozen.teacher(z_t, t, conditioning), expected)
    assert not torch.allclose(module.student(z_t, t, conditioning), expected, atol=1e-4)
    with pytest.raises(ConfigurationError, match="0 to 6"):
        distillation(folder)


def test_a_student_is_no_teacher(stage_2: Path) -> None:
    with pytest.raises(ModelFolderError, match="stage_2"):
        distillation(stage_2)
    with pytest.raises(ModelFolderError, match="stage_2"):
        guidance(stage_2)
