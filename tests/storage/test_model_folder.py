"""What a model's name means: tests/storage/test_bundled.py has the bundled ones, and folders that rest on another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.storage.model_folder import base_folder, model_folder, model_index


@pytest.fixture
def hub(teacher_folder: Path, tmp_path: Path) -> Path:
    """A hub's cache with the teacher as ``someone/model``."""
    cached = tmp_path / "models--someone--model"
    shutil.copytree(teacher_folder, cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    return tmp_path


def test_a_folder_is_itself_and_says_what_it_has(teacher_folder: Path) -> None:
    assert model_folder(teacher_folder) == teacher_folder
    assert model_index(teacher_folder)["_class_name"] == ["pipeline", "TextToAudioPipeline"]
    assert base_folder(teacher_folder, model_index(teacher_folder)) is None


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        model_folder(tmp_path)


def test_a_model_of_the_hub_is_loaded_out_of_its_cache(
    hub: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without diffusers, which refuses a repository whose components are not its own: ours are mel and vocoder."""
    monkeypatch.setattr(TextToAudioPipeline, "download", None)
    pipeline = TextToAudioPipeline.from_pretrained("someone/model", cache_dir=hub)
    expected = TextToAudioPipeline.from_pretrained(teacher_folder)
    for ours, same in zip(pipeline.unet.parameters(), expected.unet.parameters(), strict=True):
        assert torch.equal(ours, same)


def test_a_model_that_is_nowhere_is_named(hub: Path) -> None:
    with pytest.raises(FileNotFoundError, match="someone/other"):
        model_folder("someone/other", cache_dir=hub)
