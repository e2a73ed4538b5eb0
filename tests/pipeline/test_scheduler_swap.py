"""A scheduler that replaces a model's own is used, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CosineDPMSolverMultistepScheduler, DDIMScheduler, EulerDiscreteScheduler, LCMScheduler

from consistency_tta.diffusion.sampler import ODESampler
from consistency_tta.diffusion.solve import Heun
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from tests.pipeline.models import student, teacher


def test_a_swapped_scheduler_stays_with_the_folder(tmp_path: Path) -> None:
    pipeline, noise = teacher(), torch.randn(1, 4, 8, 4)
    pipeline.save_pretrained(tmp_path / "before")
    other = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.scheduler = other
    made = pipeline("a dog", 2.0, 4, latents=noise).latent
    pipeline.save_pretrained(tmp_path / "after")
    for loaded in (
        TextToAudioPipeline.from_pretrained(tmp_path / "after"),
        TextToAudioPipeline.from_pretrained(tmp_path / "before", scheduler=other),
        TextToAudioPipeline(**pipeline.components),
    ):
        assert torch.equal(loaded("a dog", 2.0, 4, latents=noise).latent, made)
    with pytest.raises(ConfigurationError, match="EulerDiscreteScheduler"):
        pipeline("a dog", 2.0, 4, solver=Heun())


def test_the_same_scheduler_changes_nothing() -> None:
    pipeline = teacher()
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    assert type(pipeline.sampler) is ODESampler


@pytest.mark.parametrize("scheduler", [LCMScheduler, EulerDiscreteScheduler])
def test_a_student_needs_no_scheduler(scheduler: Any) -> None:
    pipeline = student()
    before = pipeline.scheduler
    with pytest.raises(ConfigurationError, match=scheduler.__name__):
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    assert pipeline.scheduler is before
    assert TextToAudioPipeline(**pipeline.components).sampler.one_query


def test_schedulers_of_other_kinds_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="CosineDPMSolverMultistepScheduler"):
        teacher().scheduler = CosineDPMSolverMultistepScheduler()

    class Own(DDIMScheduler):
        pass

    with pytest.raises(ConfigurationError, match="Own"):
        teacher().scheduler = Own()
