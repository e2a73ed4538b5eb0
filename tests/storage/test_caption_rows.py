"""What the rows of caption tables say: names that a clip may have, and forms of tables that are rare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.caption_records import LONGEST_FIELD
from consistency_tta.storage.captions import Row, caption_file, read_clips, read_rows


def rows(folder: Path, content: Any) -> list[Row]:
    """Of a CSV text, or of JSON."""
    file = folder / "captions"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_rows(file)


def test_a_protocols_clips_are_found_by_its_name_unless_there_is_such_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(read_rows("audiocaps-882")) >= 882
    Path("audiocaps-882").touch()
    assert caption_file("audiocaps-882") == Path("audiocaps-882")


def test_a_video_s_part_may_be_named_by_its_caption_s_number(tmp_path: Path) -> None:
    one, other = rows(tmp_path, "audiocap_id,youtube_id,start_time,caption\n7,v,30,A\nw,w,0,B\n")
    assert (one.candidates[-1], other.candidates[-1]) == ("7", "")  # "w" is a video
    assert one.names == one.candidates[:-1]
    assert {"v_30", "Yv_30_40", "v"} <= set(one.names)


def test_a_column_beside_the_video_names_files_by_as_much_as_is_their_own(tmp_path: Path) -> None:
    found = rows(tmp_path, "youtube_id,file_name,start,end,caption\nv,x/a.wav,2,5,A\nu,y/a.wav,0,5,B\nt,,0,5,C\n")
    assert [row.candidates[0] for row in found] == ["x/a", "y/a", "t_0_5"]
    assert not any({"a", ""} & set(row.names) for row in found)
    assert [row.length for row in found] == [3, 5, 5]


def test_a_part_of_a_file_is_named_by_its_times_and_no_path_gets_a_letter_in_front_of_its_end(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "file,start,end,caption\nx/a.wav,2,5,A\n")
    assert row.candidates[:2] == ["/x/a_2_5", "/x/a_2-5"]
    assert "a_2_5" in row.candidates
    assert not any("Y/" in name for name in row.candidates)
    (whole,) = rows(tmp_path, "file,caption\nx/a.wav,A\n")
    assert (whole.names, whole.candidates) == (["x/a"], ["/x/a", "x/a", "a"])


def test_several_captions_come_before_one(tmp_path: Path) -> None:
    found = rows(tmp_path, [{"id": "a", "caption": "A", "captions": ["B", "C"]}])
    assert [row.caption for row in found] == ["B", "C"]


def test_the_separator_may_be_stated_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "sep=;\nid;caption\na;A, B, C, D\n")
    assert (row.name, row.caption, row.line) == ("a", "A, B, C, D", 3)
    with pytest.raises(DataError, match="line 3"):
        rows(tmp_path, '"sep=|"\nid|caption\n|A\n')


def test_a_field_may_be_so_long(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, [{"id": "a", "caption": "A" * LONGEST_FIELD}])
    assert len(row.caption) == LONGEST_FIELD
    with pytest.raises(DataError, match="entry 1"):
        rows(tmp_path, [{"id": "a", "caption": "A" * (LONGEST_FIELD + 1)}])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,caption\n", "captions has no captions"),
        ("name,text\n", "name,text"),
        ("caption,id\nA,B,c\n", "line 2.*contain ','"),
        ("id,caption\na\n", "line 2.*complete the row"),
        ('{\n"data": 3\n}', '"data", got 3'),
        ('{"id": "a", "caption": "A"},\n{"id": "b", "caption": "B"}', "captions, line 1: not valid JSON"),
        ([{"youtube_id": "v", "caption": "A"}, {"file": "a", "caption": "B"}], "entry 2: expected a video's id"),
    ],
)
def test_what_is_no_table_is_named(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        rows(tmp_path, content)


@pytest.mark.parametrize("name", ["a\tb", "a\x01", ".", "a/.."])
def test_a_name_that_is_fit_for_no_file_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "captions"
    file.write_text(json.dumps([{"id": name, "caption": "A"}]))
    with pytest.raises(DataError, match="entry 1: expected a name fit for a file"):
        read_clips(file)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_captions_with_separators_and_no_quotes_are_counted(
    number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = rows(tmp_path, "id,caption\n" + "".join(f"{k},A, B\n" for k in range(number)))
    assert {row.caption for row in found} == {"A, B"}
    (said,) = caplog.messages
    assert "line 2" in said
    assert (f"and {number - 1} more" in said) == (number > 1)


@pytest.mark.parametrize("number", [3, 4])
def test_of_the_values_that_may_choose_rows_three_are_named(
    number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows(tmp_path, "id,split,caption\n" + "".join(f"{k},s{k},A\n" for k in range(number)))
    (said,) = caplog.messages
    assert ("(s0, s1, s2, ...)" if number > 3 else "(s0, s1, s2)") in said
