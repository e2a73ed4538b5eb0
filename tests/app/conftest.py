"""Toy models that are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.app.models import ModelCache
from consistency_tta.pipeline import TextToAudioPipeline


@pytest.fixture(scope="session")
def models() -> ModelCache:
    return ModelCache("cpu", capacity=2)


@pytest.fixture(scope="session")
def toy(models: ModelCache, teacher_folder: Path) -> TextToAudioPipeline:
    return models.load(str(teacher_folder))
