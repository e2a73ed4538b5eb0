"""Nothing is written by halves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.convert.folder import check_free, write
from consistency_tta.pipeline import TextToAudioPipeline


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, folder = TextToAudioPipeline(mel=MelSpectrogram(n_mels=16)), tmp_path / "below" / "model"
    saved = TextToAudioPipeline.save_pretrained

    def full_disk(self: TextToAudioPipeline, path: Any) -> None:
        saved(self, path)
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(TextToAudioPipeline, "save_pretrained", full_disk)
        with pytest.raises(OSError, match="no space"):
            write(pipeline, folder)
    assert list(folder.parent.iterdir()) == []
    folder.mkdir()
    check_free(folder)
    write(pipeline, folder)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert TextToAudioPipeline.from_pretrained(folder).mel.config["n_mels"] == 16
    with pytest.raises(ValueError, match="exists already: give another --output"):
        check_free(folder)
