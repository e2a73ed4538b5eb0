"""The teacher of a distillation: a folder, or a model that is loaded already."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from consistency_tta.losses import LatentL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from consistency_tta.training import ConsistencyDistillation, Distillation, StudentConfig
from consistency_tta.training.distillation.teacher import guidance_range, load_teacher
from tests.pipeline.models import student
from tests.toys import toy_parts


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


def test_a_teacher_that_is_guided_in_one_query_knows_its_guidance_scales() -> None:
    learnt = TextToAudioPipeline(**toy_parts(), guidance_range=[1.0, 5.0])
    for within in ((1.0, 5.0), 1.0, 5.0, (2.0, 3.0)):
        assert load_teacher(learnt, within) is learnt
    for beyond, named in (((0.5, 5.0), "0.5 to 5"), ((1.0, 5.5), "1 to 5.5"), (6.0, "6 to 6")):
        with pytest.raises(ConfigurationError, match=f"1 to 5,.* {named}"):
            load_teacher(learnt, beyond)
    anything = TextToAudioPipeline(**toy_parts())
    assert load_teacher(anything, (0.0, 100.0)) is anything


@pytest.mark.parametrize("missing", ["unet", "scheduler"])
def test_what_a_teacher_lacks_is_named(missing: str) -> None:
    parts = {name: part for name, part in toy_parts().items() if name != missing}
    with pytest.raises(ModelFolderError, match=missing):
        load_teacher(TextToAudioPipeline(**parts), 3.0)


def test_a_guidance_scale_is_a_range_whose_ends_may_be_one() -> None:
    assert guidance_range((0.0, 5.0)) == (0.0, 5.0)
    assert guidance_range([2, 2]) == guidance_range(2) == (2.0, 2.0)
    for wrong in ((5.0, 2.0), (-1.0, 2.0), -1.0, (1.0, 2.0, 3.0)):
        with pytest.raises(ConfigurationError, match=re.escape(str(wrong))):
            guidance_range(wrong)


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
