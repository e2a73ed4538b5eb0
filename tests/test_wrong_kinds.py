"""Arguments of the wrong kind in Python, each refused by an error that names the argument and what came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.diffusion.solve import DDIM
from consistency_tta.losses import LatentPseudoHuberLoss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, ShapeError
from consistency_tta.training import ConsistencyDistillation, Distillation, StudentConfig
from tests.pipeline.models import student, teacher

LOSSES = {"latent": LatentPseudoHuberLoss()}


def distil(**options: Any) -> Distillation:
    return Distillation(**({"teacher": teacher(), "objective": ConsistencyDistillation(), "losses": LOSSES} | options))


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "a number as a model": (lambda: TextToAudioPipeline.from_pretrained(5), "got 5"),  # type: ignore[arg-type]
    "a network as a teacher": (lambda: distil(teacher=torch.nn.Linear(1, 1)), "got Linear"),
    "no teacher": (lambda: distil(teacher=None), "got None"),
    "an objective's name": (
        lambda: distil(objective="ConsistencyDistillation"),
        "objective.*'ConsistencyDistillation'",
    ),
    "an objective's class": (lambda: distil(objective=ConsistencyDistillation), "ConsistencyDistillation: call it"),
    "losses in a list": (lambda: distil(losses=[LatentPseudoHuberLoss()]), "losses"),
    "a loss of torch": (lambda: distil(losses={"latent": torch.nn.MSELoss()}), "the loss latent.*MSELoss"),
    "a student's options": (lambda: distil(student={"guidance_scale": 3}), "student.*guidance_scale"),
    "a learning rate": (lambda: distil(optimization=1e-4), "optimization.*0.0001"),
    "three guidance scales": (lambda: distil(student=StudentConfig(guidance_scale=(1, 2, 3))), "1, 2, 3"),  # type: ignore[arg-type]
    "guidance as text": (lambda: distil(student=StudentConfig(guidance_scale="3")), "guidance_scale"),  # type: ignore[arg-type]
    "a solver's name": (lambda: teacher()("a dog", solver="DDIM"), "solver.*'DDIM'"),  # type: ignore[arg-type]
    "a solver's class": (lambda: teacher()("a dog", solver=DDIM), "DDIM: call it"),  # type: ignore[arg-type]
    "a grid's name": (lambda: student()("a dog", grid="LinspaceGrid"), "grid.*'LinspaceGrid'"),  # type: ignore[arg-type]
    "latents in a list": (lambda: student()("a dog", latents=[1.0]), "list"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_argument_of_the_wrong_kind_is_named(mistake: str) -> None:
    call, named = MISTAKES[mistake]
    with pytest.raises((ConfigurationError, ShapeError), match=named):
        call()


def test_batches_are_those_of_datamodules() -> None:
    with pytest.raises(ConfigurationError, match="Batch"):
        distil().training_step([torch.zeros(2, 8192)], 0)  # type: ignore[arg-type]


def test_a_dtype_may_be_named(tmp_path: Path) -> None:
    student().save_pretrained(tmp_path / "model")
    loaded = TextToAudioPipeline.from_pretrained(tmp_path / "model", dtype="bfloat16")
    assert loaded.vae.dtype == torch.bfloat16
    with pytest.raises(ConfigurationError, match="fp16"):
        TextToAudioPipeline.from_pretrained(tmp_path / "model", dtype="fp16")


def test_a_cast_does_not_warn_of_no_modules(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    student().save_pretrained(tmp_path / "model")
    TextToAudioPipeline.from_pretrained(tmp_path / "model").to(torch.bfloat16)
    assert "float32" not in caplog.text
