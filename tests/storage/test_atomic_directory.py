"""Nothing is written by halves."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers import DiffusionPipeline
from safetensors import SafetensorError

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.atomic_directory import atomic_directory, check_folder, require_empty


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_model_folder_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, folder = TextToAudioPipeline(mel=MelSpectrogram(n_mels=16)), tmp_path / "below" / "model"
    saved = DiffusionPipeline.save_pretrained

    def full_disk(self: TextToAudioPipeline, path: Any, **options: Any) -> None:
        saved(self, path, **options)
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(DiffusionPipeline, "save_pretrained", full_disk)
        with pytest.raises(OSError, match="no space"):
            pipeline.save_pretrained(folder)
    assert list(folder.parent.iterdir()) == []
    folder.mkdir()
    require_empty(folder)
    pipeline.save_pretrained(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert TextToAudioPipeline.from_pretrained(folder).mel.config["n_mels"] == 16
    with pytest.raises(ConfigurationError, match=str(folder)):
        require_empty(folder)


def test_a_model_may_be_read_by_whom_the_umask_lets(umask: int, tmp_path: Path) -> None:
    TextToAudioPipeline(mel=MelSpectrogram(n_mels=16)).save_pretrained(tmp_path / "model")
    files = [file for file in (tmp_path / "model").rglob("*") if file.is_file()]
    assert any(file.suffix == ".safetensors" for file in files)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o666 & ~umask}


def test_what_is_written_again_takes_the_old_ones_place_and_leaves_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    (folder / "part").mkdir(parents=True)
    for name in ("README.md", "index", "part/old", "part/weights"):
        (folder / name).write_text("before")

    def stopped() -> None:
        with atomic_directory(folder, last="index") as new:
            (new / "index").write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stopped()
    assert {file.read_text() for file in folder.rglob("*") if file.is_file()} == {"before"}
    order = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: (order.append(self.name), replace(self, target))[1])
    with atomic_directory(folder, last="index") as new:
        (new / "part").mkdir()
        (new / "new" / "part").mkdir(parents=True)
        for name in ("index", "part/weights", "new/part/weights"):
            (new / name).write_text("after")
    assert order == ["weights", "weights", "index"]
    found = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}
    assert found == {
        "README.md": "before",
        "part/old": "before",
        "index": "after",
        "part/weights": "after",
        "new/part/weights": "after",
    }
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_named_from_within_is_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    TextToAudioPipeline(mel=MelSpectrogram(n_mels=16)).save_pretrained(".")
    assert (tmp_path / "model_index.json").is_file()


def test_a_file_in_a_folders_place_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("link").symlink_to("nowhere")
    for free in (tmp_path, Path("new"), Path("new/below"), tmp_path / "new", Path()):
        check_folder(free, "--output")
    for taken, there in (("file", "file"), ("file/below/deep", "file"), ("link", "link")):
        with pytest.raises(NotADirectoryError, match=f"--cache.* {taken}.* {there} "):
            check_folder(Path(taken), "--cache")


def test_a_disk_without_room_for_a_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match="No space left"), atomic_directory(tmp_path / "model", "x"):
        pass


def test_a_full_disk_is_named_whatever_library_writes(tmp_path: Path) -> None:
    model = tmp_path / "model"
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(OSError, match=f"{model}.*No space left"), atomic_directory(model, "x"):
        raise full
    with pytest.raises(SafetensorError), atomic_directory(model, "x"):
        raise SafetensorError("Error while deserializing header")
    assert not list(tmp_path.iterdir())
