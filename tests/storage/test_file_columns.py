"""Which column of a table names the file, and what is said where two differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.caption_records import Record
from consistency_tta.storage.file_columns import (
    LONGEST_NAME,
    LONGEST_PART,
    file_of_video,
    locations,
    name_in,
    warn_of_contradictions,
)


def record(**fields: object) -> Record:
    return Record("table.csv, line 2", 2, fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"file": "x/a.wav", "id": "b"}, ("x/a", ["b"])),
        ({"file": "a.wav", "id": "a"}, ("a", [])),
        ({"id": "b.flac"}, ("b", [])),
        ({"file": "", "id": 7}, ("7", [])),
        ({"wav": "a", "location": "b"}, ("b", [])),
        ({"audio": {"path": "a.mp3"}}, ("a", [])),
    ],
)
def test_the_surest_column_names_the_file_and_an_id_is_another_name(
    fields: dict[str, object], expected: tuple[str, list[str]]
) -> None:
    assert locations(record(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"file": "", "id": ""}, "as file"),
        ({"id": None}, "as id"),
        ({"caption": "A"}, "location"),
        ({"wav": True}, "wav"),
    ],
)
def test_a_row_that_names_no_file_is_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=rf"table\.csv, line 2: .*{said}"):
        locations(record(**fields))


def test_beside_a_video_any_column_but_the_id_names_its_file() -> None:
    assert file_of_video(record(wav="x/a.wav", id="b")) == "x/a"
    assert file_of_video(record(file="", audio="c")) == "c"
    assert file_of_video(record(id="b")) == ""


def test_names_are_as_long_as_file_systems_take() -> None:
    part, path = "n" * LONGEST_PART, "n/" * (LONGEST_NAME // 2)
    assert name_in(record(id=part), "id") == part
    assert name_in(record(id=path), "id") == path
    for longer in (part + "n", path + "n", "ä" * (LONGEST_PART // 2 + 1), f"x/{part}n", f"x\\{part}n"):
        with pytest.raises(DataError, match="line 2"):
            name_in(record(id=longer), "id")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_columns_that_name_different_files_are_warned_of(number: int, caplog: pytest.LogCaptureFixture) -> None:
    rows = [record(location="x/a.wav", wav="x/b.wav", id="c")] * number
    alike = [record(location="x/a.wav", wav="a.flac"), record(wav="a.wav", id="c"), record(caption="A")]
    warn_of_contradictions(alike + rows, Path("table.csv"))
    (said,) = caplog.messages
    assert "line 2: location and wav name different files, 'x/a.wav' and 'x/b.wav'" in said
    assert "location is used" in said
    assert (f"in {number - 1} more rows" in said) == (number > 1)
    caplog.clear()
    warn_of_contradictions(alike, Path("table.csv"))
    assert not caplog.messages
