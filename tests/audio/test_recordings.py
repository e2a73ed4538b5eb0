"""A folder of recordings is used whole, or refused with the names of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from consistency_tta.audio.recordings import check_recordings, read_recording, recordings
from consistency_tta.runtime.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings, one of them deep down, and what is none."""
    (tmp_path / "deep.wav").mkdir()
    for name in ("a.FLAC", "b.ogg", "deep.wav/c.mp3"):
        soundfile.write(tmp_path / name, np.full((5000, 2), 0.1), 16000)
    (tmp_path / "notes.txt").write_text("no sound")
    return tmp_path


def test_recordings_are_found_at_any_depth(folder: Path) -> None:
    files = [folder / name for name in ("a.FLAC", "b.ogg", "deep.wav/c.mp3")]
    assert recordings(folder, least=3) == files
    check_recordings(folder, least=3)
    assert [len(read_recording(file).waveform) for file in files] == 3 * [5000]
    (folder / "sub").mkdir()
    (folder / "sub" / "link").symlink_to(folder / "deep.wav")
    assert recordings(folder / "sub") == [folder / "sub" / "link" / "c.mp3"]


@pytest.mark.parametrize(("least", "named"), [(4, "4 .*3"), (1, "nowhere")])
def test_too_few_are_counted(least: int, named: str, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=named):
        check_recordings(folder if least > 1 else folder / "nowhere", least)


def test_what_cannot_be_used_is_named_with_the_reason(folder: Path) -> None:
    (folder / "empty.wav").touch()
    samples = np.r_[np.zeros(5000), np.nan]
    soundfile.write(folder / "deep.wav" / "nan.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"deep\.wav/nan\.wav .*empty\.wav"):
        check_recordings(folder)
    with pytest.raises(DataError, match=r"nan\.wav"):
        read_recording(folder / "deep.wav" / "nan.wav")
    (folder / "cut.wav").write_bytes((folder / "deep.wav" / "nan.wav").read_bytes()[:5000])
    (folder / "gone.wav").symlink_to("nowhere.wav")
    with pytest.raises(DataError, match=r"cut\.wav .*empty"):
        check_recordings(folder)
