"""The teacher of a distillation: a folder, or a model that is loaded already."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consistency_tta.losses import LatentL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ModelFolderError
from consistency_tta.training import ConsistencyDistillation, Distillation, StudentConfig
from tests.pipeline.models import student


def test_a_pipeline_is_a_teacher_as_its_folder_is(teacher_folder: Path) -> None:
    losses = {"latent": LatentL2Loss()}
    modules = [
        Distillation(teacher, ConsistencyDistillation(), losses)
        for teacher in (str(teacher_folder), teacher_folder, TextToAudioPipeline.from_pretrained(teacher_folder))
    ]
    expected = modules[0].frozen.teacher.state_dict()
    for module in modules[1:]:
        assert "teacher" not in module.hparams  # it is no plain value: give it again to load_from_checkpoint
        assert all(torch.equal(value, expected[name]) for name, value in module.frozen.teacher.state_dict().items())
    with pytest.raises(ModelFolderError, match="memory"):
        Distillation(student(), ConsistencyDistillation(), losses)


def test_a_pipeline_is_a_start_and_stays_as_it_is(teacher_folder: Path) -> None:
    start = TextToAudioPipeline.from_pretrained(teacher_folder)
    module = Distillation(
        teacher_folder, ConsistencyDistillation(), {"latent": LatentL2Loss()}, student=StudentConfig(folder=start)
    )
    before = start.unet.state_dict()
    own = module.student.network.state_dict()
    assert all(torch.equal(own[name], value) for name, value in before.items() if name in own)
    shared = {value.data_ptr() for value in before.values()} & {value.data_ptr() for value in own.values()}
    assert not shared
