"""Models are loaded once, and the ones used last are kept."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consistency_tta.app.models import ModelCache, sample
from consistency_tta.generation.sampling_config import SamplingConfig
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError


def test_the_models_used_last_are_kept(monkeypatch: pytest.MonkeyPatch, toy: TextToAudioPipeline) -> None:
    loaded: list[str] = []

    def load(name: str, **_: object) -> TextToAudioPipeline:
        loaded.append(name)
        return toy

    monkeypatch.setattr("consistency_tta.app.models.load_for_generation", load)
    models = ModelCache("cpu", capacity=2)
    for name in ("a", "b", "a", "c"):
        assert models.load(name) is toy
    assert loaded == ["a", "b", "c"]
    assert [name in models for name in "abc"] == [True, False, True]


def test_one_batch_is_computed_at_a_time(monkeypatch: pytest.MonkeyPatch, toy: TextToAudioPipeline) -> None:
    running, most = 0, 0

    def compute(*_: object) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.02)
        running -= 1

    monkeypatch.setattr("consistency_tta.app.models.generate_batch", compute)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: sample(toy, SamplingConfig(), []), range(4)))
    assert most == 1


@pytest.mark.parametrize("name", [None, "", "  "])
def test_a_name_is_needed(models: ModelCache, name: str | None) -> None:
    with pytest.raises(ConfigurationError):
        models.load(name)


def test_a_missing_folder_is_named(models: ModelCache, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        models.load(str(tmp_path / "nowhere"))
