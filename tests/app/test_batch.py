"""The sounds of a caption file are those of ``generate --captions``."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from consistency_tta.app.batch import generate_captions
from consistency_tta.generate import generate
from consistency_tta.generation.sampling_config import SamplingConfig
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import DataError


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    file = tmp_path / "captions.csv"
    file.write_text("id,caption\nrain,Rain is falling\ndog,A dog barks\ncat,A cat\n")
    return file


def test_the_zip_file_has_the_sounds_of_generate(
    toy: TextToAudioPipeline, teacher_folder: Path, captions: Path, tmp_path: Path
) -> None:
    config = SamplingConfig(steps=1, seed=2)
    progress = list(generate_captions(toy, captions, config, tmp_path / "sounds", num_samples=2, batch_size=4))
    assert [(one.done, one.total) for one in progress] == [(0, 6), (4, 6), (6, 6), (6, 6)]
    assert [one.archive is None for one in progress] == [True, True, True, False]
    other = tmp_path / "other"
    generate(
        [], str(teacher_folder), other, 3.0, 1, captions=captions, num_samples=2, batch_size=4, seed=2, device="cpu"
    )
    expected = {str(file.relative_to(other)): file.read_bytes() for file in other.glob("*/*")}
    assert progress[-1].archive is not None
    with zipfile.ZipFile(progress[-1].archive) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    assert set(found) == {
        f"{set_}/{name}" for set_ in "01" for name in ("rain.wav", "dog.wav", "cat.wav", "captions.csv")
    }
    assert found == expected


def test_a_file_without_captions_is_refused_by_its_name(toy: TextToAudioPipeline, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("colour,size\nred,3\n")
    with pytest.raises(DataError, match=r"wrong\.csv"):
        next(generate_captions(toy, wrong, SamplingConfig(), tmp_path / "sounds"))
