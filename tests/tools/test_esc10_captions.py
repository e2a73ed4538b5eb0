"""Captions for ESC-10, from the table of ESC-50 as it is published, and from ours."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tools.esc10_captions import captions_by_label, recordings, write_captions

CLIPS = [  # name, class, fold, Freesound id, whether it is in ESC-10
    ("1-100032-A-0", "dog", 1, 100032, True),
    ("4-149294-A-41", "chainsaw", 4, 149294, True),
    ("4-149940-A-5", "cat", 4, 149940, False),
    ("5-151085-A-20", "crying_baby", 5, 151085, True),
]


def write_table(file: Path, header: list[str], rows: list[list[object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as table:
        csv.writer(table).writerows([header, *rows])


@pytest.fixture(params=["published", "ours"])
def esc50(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "published":
        header = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
        rows = [[f"{name}.wav", fold, 0, label, esc10, source, "A"] for name, label, fold, source, esc10 in CLIPS]
        write_table(tmp_path / "meta" / "esc50.csv", header, rows)
    else:
        header = ["clip_id", "file", "label", "fold", "freesound_id", "esc10"]
        rows = [[name, f"audio/{name}.ogg", *rest] for name, *rest in CLIPS]
        write_table(tmp_path / "clips.csv", header, rows)
    return tmp_path


def test_every_clip_gets_the_captions_of_its_class_in_its_split(esc50: Path, tmp_path: Path) -> None:
    assert write_captions(esc50, tmp_path / "esc10") == {"train": 1, "val": 1, "test": 1}
    with (tmp_path / "esc10" / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["caption"] for row in rows] == captions_by_label()["dog"]
    assert {row["youtube_id"] for row in rows} == {"1-100032-A-0"}


def test_files_are_where_the_tables_say(esc50: Path) -> None:
    assert {clip.file.parent for clip in recordings(esc50)} == {esc50 / "audio"}


def test_captions_are_named_after_their_class() -> None:
    captions = captions_by_label()
    assert list(captions) == sorted(captions)
    assert all(len(texts) == 5 for texts in captions.values())
    for label, word in {"sea_waves": "waves", "crying_baby": "baby", "clock_tick": "tick", "dog": "dog"}.items():
        assert word in captions[label][0]


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"meta/esc50\.csv or clips\.csv"):
        recordings(tmp_path)
