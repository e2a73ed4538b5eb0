"""Clips for the tagger: names it understands, the same noise for every model, and round trips of real ones."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tools.esc10_classes import CLASSES, clips_of_folder
from tools.esc10_generate import main, noise


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    """Two classes of ESC-10 and one of the others, a clip in fold 4 and in fold 5 each, at 8 kHz."""
    folder = tmp_path / "esc50"
    (folder / "audio").mkdir(parents=True)
    random = np.random.default_rng(0)
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "fold", "freesound_id", "esc10"])
        for label, esc10 in (("dog", True), ("rain", True), ("cat", False)):
            for fold in (4, 5):
                name = f"audio/{fold}-{label}.wav"
                writer.writerow([name, label, fold, 0, esc10])
                soundfile.write(folder / name, 0.1 * random.standard_normal(2500), 8000)
    return folder


def test_more_clips_begin_with_the_same_noise() -> None:
    few, many, others = noise(1, 2, (4, 8, 4), 0), noise(1, 5, (4, 8, 4), 0), noise(2, 2, (4, 8, 4), 0)
    assert torch.equal(few, many[:2])
    assert not torch.equal(few, others)
    assert not torch.equal(few, noise(1, 2, (4, 8, 4), 1))


def test_a_folder_that_the_judge_reads(
    teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in ("one", "two"):
        main([str(teacher_folder), str(tmp_path / run), "--clips", "1", "--steps", "2"])
    clips = clips_of_folder(tmp_path / "one")
    assert [clip.label for clip in clips] == sorted(CLASSES)
    assert "'queries': 4" in capsys.readouterr().out
    for clip in clips:
        assert clip.file.read_bytes() == (tmp_path / "two" / clip.file.name).read_bytes()


def test_real_clips_of_fold_5_go_round(esc50: Path, teacher_folder: Path, tmp_path: Path) -> None:
    main([str(teacher_folder), str(tmp_path / "out"), "--round_trip", str(esc50)])
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["dog__5-dog.wav", "rain__5-rain.wav"]
    assert soundfile.info(tmp_path / "out" / "dog__5-dog.wav").frames == 5000
