"""What a model's name means: tests/storage/test_bundled.py has the bundled ones, and folders that rest on another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from consistency_tta.storage.model_folder import base_folder, model_folder, model_index, nested_too_deep


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
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} is no model folder") as caught:
        model_folder(tmp_path)
    assert "did you mean" not in str(caught.value)


def test_a_folder_in_or_above_a_model_has_the_model_named(teacher_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(teacher_folder)
    for given, near in ((teacher_folder / "unet", teacher_folder), (tmp_path, tmp_path / "model")):
        with pytest.raises(FileNotFoundError, match=rf"did you mean {near}\?"):
            model_folder(given)


def rests(folder: Path, base: str | None) -> Path:
    """A model folder with a base."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps({} if base is None else {"_base": base}))
    return folder


@pytest.mark.parametrize(
    ("base", "found"),
    [("../other", "root/other"), ("below", "root/model/below"), ("./below/deep", "root/model/below/deep")],
)
def test_a_base_lies_next_to_a_folder_or_in_it(base: str, found: str, tmp_path: Path) -> None:
    rests(tmp_path / found, None)
    folder = rests(tmp_path / "root" / "model", base)
    assert base_folder(folder, model_index(folder)).resolve() == tmp_path / found  # type: ignore[union-attr]


@pytest.mark.parametrize("base", ["/", "../..", "../../far", "below/..", "below/../..", "..", ".", "", "ABSOLUTE"])
def test_a_base_elsewhere_is_refused(base: str, tmp_path: Path) -> None:
    for place in (tmp_path / "far", tmp_path, tmp_path / "root", tmp_path / "root" / "model" / "below"):
        rests(place, None)
    folder = rests(tmp_path / "root" / "model", base.replace("ABSOLUTE", str(tmp_path / "far")))
    with pytest.raises(ModelFolderError, match=str(folder)):
        base_folder(folder, model_index(folder))


@pytest.mark.parametrize("start", ["a", "c"])
def test_folders_that_rest_on_each_other_are_named(start: str, tmp_path: Path) -> None:
    for name, base in (("a", "../b"), ("b", "../a"), ("c", "../a")):
        rests(tmp_path / name, base)
    with pytest.raises(ModelFolderError, match="rests on itself"):
        base_folder(tmp_path / start, model_index(tmp_path / start))


def test_a_base_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    folder = rests(tmp_path / "model", "../empty")
    with pytest.raises(FileNotFoundError, match="empty"):
        base_folder(folder, model_index(folder))


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="got 3"):
        model_folder(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "said", "unsaid"),
    [
        ("tiny-teachr", ["did you mean tiny-teacher?"], ["First"]),
        ("someone/other", ["First"], ["Second", "third", "did you mean"]),
        ("no/such/folder", ["no/such/folder"], ["First", "did you mean"]),
    ],
)
def test_what_is_nowhere_is_said_by_what_it_may_have_been(
    name: str, said: list[str], unsaid: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("First. Second\nthird")

    monkeypatch.setattr("consistency_tta.storage.model_folder.snapshot_download", fail)
    with pytest.raises(FileNotFoundError) as caught:
        model_folder(name)
    assert all(text in str(caught.value) for text in said)
    assert not any(text in str(caught.value) for text in unsaid)


@pytest.mark.parametrize("found", [True, False])
def test_a_file_that_is_nested_too_deep_is_named(found: bool, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text("{}")
    (tmp_path / "b.json").write_text("[" * 100_000 if found else "[]")
    assert str(tmp_path / "b.json" if found else tmp_path) in str(nested_too_deep(tmp_path))


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
