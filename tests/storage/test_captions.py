"""Every form of caption file gives the same clips, under names that files can have."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from consistency_tta.datamodules.clips import read_captions
from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.captions import read_clips, read_rows
from consistency_tta.storage.text import filled_lines, read_text

CLIPS = {"dog 1": ["A dog, barking", "Barks"], "rain": ["Rain", "Water"]}
LINES = [(name, caption) for name, captions in CLIPS.items() for caption in captions]


def quoted(*fields: str) -> str:
    return ",".join(f'"{field}"' for field in fields)


FORMS = {
    "audiocaps": "\n".join(
        ["audiocap_id,youtube_id,start_time,caption", *(f'1,{name},30,"{caption}"' for name, caption in LINES)]
    ),
    "id": "\n".join(["id,caption", *(quoted(*line) for line in LINES)]),
    "file": "\n".join(["caption,file", *(quoted(caption, f"set/{name}.FLAC") for name, caption in LINES)]),
    "clotho": "\n".join(["file_name,caption_1,caption_2", *(quoted(f"{n}.wav", *texts) for n, texts in CLIPS.items())]),
    "tango": "\n".join(json.dumps({"location": f"/data/{n}.wav", "captions": texts}) for n, texts in CLIPS.items()),
    "shards": "\n".join(json.dumps({"id": name, "caption": caption}) for name, caption in LINES),
    "list": json.dumps([{"file": f"{name}.ogg", "caption": caption} for name, caption in LINES]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_clips_and_finds_what_was_made_for_them(form: str, tmp_path: Path) -> None:
    file = tmp_path / "captions"
    file.write_text("\ufeff" + FORMS[form] + "\n", encoding="utf-8")
    clips = read_clips(file)
    assert clips == CLIPS
    for name in clips:
        (tmp_path / f"{name}.wav").touch()
    assert [clip.path for clip in read_captions(file, tmp_path)] == [tmp_path / f"{name}.wav" for name in CLIPS]


def test_a_name_is_as_long_as_it_must_be(tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    file.write_text("file,caption\n/a/dog/1.wav,A\n/a/cat/1.wav,B\n../c/2.5.wav,C\n")
    assert list(read_clips(file)) == ["dog/1", "cat/1", "2.5"]
    file.write_text("youtube_id,start_time,caption\nv,0,A\nv,30,B\nu,0,C\n")
    assert list(read_clips(file)) == ["v_0", "v_30", "u"]


COLUMNS = "audiocap_id,youtube_id,start_time,caption\n"
#: What is in a file, and what the error must name besides the file: the line or entry, or a value.
REFUSED = {
    "no name": ("id,caption\n,A\n", "line 2"),
    "no video's id": ("youtube_id,start_time,caption\n,30,A\n", "line 2"),
    "a name of NUL": ('{"id": "a\\u0000", "caption": "A"}', "entry 1"),
    "a name of half a character": ('{"id": "a\\ud83d", "caption": "A"}', "entry 1"),
    "a long name": (f"id,caption\n{'n' * 300},A\n", "line 2"),
    "a deep path": (f"id,caption\n{'n/' * 30_000}x,A\n", "line 2"),
    "a caption of NUL": ('{"id": "a", "caption": "A\\u0000"}', "entry 1"),
    "a caption of half a character": ('{"id": "a", "caption": "A \\ud83d"}', "entry 1"),
    "a caption of no width": ("id,caption\na,\u200b\ufeff\n", "line 2"),
    "a caption of control characters": ("id,caption\na,\x07\n", "line 2"),
    "a key twice": ('{"id": "a", "caption": "A", "caption": "B"}', "caption"),
    "a key in two spellings": ('{"id": "a", "caption": "A", "Caption": "B"}', "entry 1"),
    "a rest of a caption in a column without a name": ("id,caption,\na,A dog, barking\n", "line 2"),
    "a printed list with two kinds of quotes": ('id,caption\na,"[""A dog\'s"", \'Rain\']"\n', "line 2"),
    "a printed object": ("id,caption\na,\"{'raw': 'A dog', 'tokens': 3}\"\n", "line 2"),
    "printed bytes": ("id,caption\na,b'A dog'\n", "line 2"),
    "a printed array of objects": ("id,caption\na,\"array(['A dog'], dtype=object)\"\n", "line 2"),
    "a printed list with a gap": ("id,caption\na,\"['A dog', nan]\"\n", "line 2"),
    "a spreadsheet's error": ("id,caption\na,A\nb,#REF!\n", "line 3"),
    "punctuation alone": ("id,caption\na,...\n", "line 2"),
    "a long caption in a list": (json.dumps({"id": "a", "captions": ["x" * 140_000]}), "entry 1"),
    "a time that is none": ("id,start_time,end_time,caption\na,x,5,A\n", "line 2"),
    "minutes and seconds": ("id,start_time,end_time,caption\na,0:00,0:05,A\n", "line 2"),
    "two times in one": ("youtube_id,start_time,caption\na,30_40,A\n", "line 2"),
    "a negative time": ("id,start_time,end_time,caption\na,-1,5,A\n", "line 2"),
    "an end before the start": ("youtube_id,start_time,end_time,caption\na,30,20,A\n", "line 2"),
    "a part of no length": ("id,start_time,end_time,caption\na,0,0,A\n", "line 2"),
    "a part of no duration": ("id,start_time,duration,caption\na,2,0,A\n", "line 2"),
    "another unit": ("id,start_ms,end_ms,caption\na,x,5,A\n", "milliseconds as start_ms"),
    "the usual unit": ("id,start,end,caption\na,x,5,A\n", "expected seconds as start"),
    "no file's name": ("id,caption\n..,A\n", "entry 2"),
    "no caption column": ("id,text\na,A\n", "id,text"),
    "no columns": ("name,text\na.wav,Rain\n", "name,text"),
    "nothing": ("", "captions"),
    "header alone": (COLUMNS, "captions"),
    "too many fields": ("id,caption,split\na,A dog, barking,train\n", "line 2"),
    "too many fields and a quote": ('id,caption\na,"A dog", barking\n', "line 2"),
    "too many fields, the last ones empty": ("id,caption\na,A dog,,\n", "line 2"),
    "too few fields": (COLUMNS + "1,a,0\n", "line 2"),
    "empty": (COLUMNS + "1,a,0,A\n1,b,0,\n", "line 3"),
    "white space": ("id,caption\na, \u3000\t\n", "line 2"),
    "pandas' nan": ("id,caption\na,A\nb,nan\n", "line 3"),
    "pandas' None": ("id,caption\na,None\n", "line 2"),
    "a printed list": ("id,caption\na,\"['A dog', 'Rain']\"\n", "line 2"),
    "a printed array": ("id,caption\na,['A dog' 'Rain']\n", "line 2"),
    "a spreadsheet's formula": ("id,caption\n#NAME?,A\n", "line 2"),
    "a column twice": ("id,caption,Caption\na,A,B\n", "line 1"),
    "a quote not closed": ('id,caption\na,"A dog\nb,Rain\n', "line 2"),
    "a quote inside": ('id,caption\na,A\nb,"A" dog\n', "line 3"),
    "a long field": (f"id,caption\na,A\nb,{'x' * 140_000}\n", "line 3"),
    "a long caption": (json.dumps({"id": "a", "caption": "x" * 140_000}), "entry 1"),
    "NUL": ("id,caption\na,A\nb,B\0\n", "line 3"),
    "no caption": ('{"id": "a"}', "id"),
    "no caption in the second": ('{"id": "a", "caption": "A"}\n{"id": "b"}\n', "entry 2"),
    "a number": ('{"id": "a", "caption": 3}', "entry 1"),
    "null": ('{"id": "a", "caption": null}', "entry 1"),
    "no name in JSON": ('{"id": null, "caption": "A"}', "entry 1"),
    "no captions": ('{"id": "a", "captions": []}', "entry 1"),
    "a list of numbers": ('{"id": "a", "captions": [1]}', "entry 1"),
    "a broken line": ('{"id": "a", "caption": "A"}\n{"id": "b", "caption": "B"\n', "line 2"),
    "a broken first line": ('{"id": "a", "caption": "A"\n{"id": "b", "caption": "B"}\n', "line 1"),
    "a broken list": ('[{"id": "a",\n "caption": "A",]', "line 2"),
    "a broken object": ('{"data": [\n{"id": "a", "caption": "A"},\n]', "line 3"),
    "data of another kind": ('{"data": 3}', "captions"),
    "an entry of another kind": ("[3]", "entry 1"),
    "lists in lists": ("[" * 100_000, "captions"),
    "objects in an object": ('{"id": "a", "caption": ' + '{"a":' * 100_000, "line 1"),
    "a long number": ('{"id": ' + "1" * 5000 + ', "caption": "A"}', "line 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_errors_name_the_file_and_the_place(case: str, tmp_path: Path) -> None:
    content, place = REFUSED[case]
    file = tmp_path / "captions"
    file.write_text(content, encoding="utf-8", newline="")
    with pytest.raises(DataError) as caught:
        read_clips(file)
    assert str(file) in str(caught.value)
    assert place in str(caught.value).replace(str(tmp_path), "")
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("beginning", [b"\x1f\x8b\x08", b"PK\x03\x04", b"PAR1", b"\xff\xfei\0"])
def test_files_of_another_kind_are_named(beginning: bytes, tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    file.write_bytes(beginning + b"id,caption\na,A\n")
    with pytest.raises(DataError, match=r"captions\.csv, line 1"):
        read_clips(file)


def test_joined_files_have_marks_inside_and_columns_have_spaces(tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    file.write_text("\ufeffFile Name,Caption 1\na.wav,A\r\n\ufeffb.wav,B\n", encoding="utf-8", newline="")
    assert read_clips(file) == {"a": ["A"], "b": ["B"]}


@pytest.mark.parametrize("end", ["end_time", "to"])
def test_an_end_alone_is_of_a_part_from_the_beginning(end: str, tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    file.write_text(f"file,{end},caption\na.wav,2.5,A\n")
    row = read_rows(file)[0]
    assert (row.recording, row.start, row.end) == ("a", 0.0, 2.5)
    assert row.name != "a"


def test_commas_in_the_last_column_need_no_quotes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "captions.csv"
    file.write_text(COLUMNS + "1,a,0,A dog, barking\u20282,b,0,Rain\r\n2,c,0,Wind\n", encoding="utf-8", newline="")
    assert list(read_clips(file).values()) == [["A dog, barking\u20282,b,0,Rain"], ["Wind"]]
    assert "line 2" in caplog.text


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("name", ["captions.csv", "captions.jsonl"])
def test_other_text_than_utf8_is_named_with_its_line(name: str, encoding: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes("id,caption\na,A dog\nb,Un café\n".encode(encoding))
    with pytest.raises(DataError, match=f"{name}, line {1 if encoding == 'utf-16' else 3}"):
        read_clips(file)


#: Characters at which ``str.splitlines`` splits, and CSV, JSON and text files do not.
NO_LINE_ENDS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("character", NO_LINE_ENDS, ids=[f"U+{ord(character):04X}" for character in NO_LINE_ENDS])
def test_other_characters_than_line_ends_end_no_line(character: str, end: str, tmp_path: Path) -> None:
    caption = f"A dog barks{character}2,v,30,Rain"
    file = tmp_path / "captions"
    for lines in (
        ["id,caption", f'a,"{caption}"', "b,Wind"],
        [json.dumps({"id": "a", "caption": caption}, ensure_ascii=False), '{"id": "b", "caption": "Wind"}'],
    ):
        file.write_text(end.join(lines) + end, encoding="utf-8", newline="")
        assert read_clips(file) == {"a": [caption], "b": ["Wind"]}
    file.write_text(end.join([caption, "", "Wind"]), encoding="utf-8", newline="")
    assert filled_lines(read_text(file)) == [caption, "Wind"]


def test_a_caption_may_have_line_ends_inside_quotes(tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    file.write_text('id,caption\r\na,"A dog\r\nbarks, ""loudly"""\r\nb,Rain\r\n', encoding="utf-8", newline="")
    assert read_clips(file) == {"a": ['A dog\r\nbarks, "loudly"'], "b": ["Rain"]}


#: Manifests of the field, which all say that u1 is a dog.
MANIFESTS = {
    "wavcaps": json.dumps(
        {"num_captions_per_audio": 1, "data": [{"id": "u1", "caption": "A dog", "duration": 5}]}, indent=4
    ),
    "wavcaps, one line": json.dumps({"data": [{"id": "u1.wav", "caption": "A dog"}]}),
    "audioldm": json.dumps({"data": [{"wav": "x/u1.wav", "labels": "", "caption": "A dog"}]}),
    "audioldm, csv": "audio,caption\n/d/u1.wav,A dog\n",
    "audiocraft": json.dumps({"path": "/d/u1.wav", "duration": 5.0, "sample_rate": 16000, "caption": "A dog"}),
    "an object over lines": json.dumps({"file": "u1", "caption": "A dog"}, indent=2),
    "datasets": json.dumps([{"audio": {"path": "u1.wav", "bytes": None}, "caption": "A dog"}]),
    "a file before an id": json.dumps({"id": 17, "file": "u1.wav", "caption": "A dog"}),
    "tabs": "file\tcaption\nu1\tA dog\n",
    "semicolons": "file;caption\nu1;A dog\n",
    "spaces": "file, caption\nu1, A dog\n",
    "spaces before quotes": 'file, caption\n"u1", "A dog"\n',
    "other letters": "Caption,FILE\nA dog,u1\n",
    "byte-order mark": "\ufefffile,caption\nu1,A dog\n",
    "old line ends": "file,caption\ru1,A dog\r",
    "more columns": ",file,duration,caption\n0,u1,5.0,A dog\n",
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests_of_the_field(case: str, tmp_path: Path) -> None:
    file = tmp_path / "captions"
    file.write_text(MANIFESTS[case], encoding="utf-8", newline="")
    (tmp_path / "u1.wav").touch()
    (clip,) = read_captions(file, tmp_path)
    assert (clip.path.name, clip.captions) == ("u1.wav", ["A dog"])


@pytest.mark.parametrize("column", ["timestamps", "segment_id", "channel", "chunk", "sec", "pos", "clip_index"])
def test_columns_that_may_mean_a_part_are_named(column: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "parts.csv"
    file.write_text(f"file,{column},label,caption\na,1,2,A dog\n")
    with caplog.at_level("WARNING"):
        read_clips(file)
    assert f"parts.csv: the columns {column} " in caplog.text


def test_columns_that_say_more_of_a_clip_are_not_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "clips.csv"
    file.write_text("Unnamed: 0,ytid,audiocap_id,sample_rate,license,positive_labels,caption\n0,v,1,16000,CC,x,A\n")
    with caplog.at_level("WARNING"):
        read_clips(file)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("begin", "stop"),
        ("from", "to"),
        ("segment_start", "segment_end"),
        ("startSec", "endSec"),
        ("begin_s", "end_s"),
        ("Onset (s)", "offset (s)"),
        ("clip_start_time_seconds", "duration_s"),
    ],
)
def test_times_of_parts_have_many_names(start: str, end: str, tmp_path: Path) -> None:
    file = tmp_path / "parts.csv"
    ends = (1, 1) if end.startswith("duration") else (2, 4)
    file.write_text(f"file,{start},{end},caption\na,1,{ends[0]},A dog\na,3,{ends[1]},Rain\n")
    assert list(read_clips(file)) == ["a_1_2", "a_3_4"]


def test_times_may_be_milliseconds(tmp_path: Path) -> None:
    file = tmp_path / "parts.csv"
    file.write_text("file,start_ms,endMs,duration_ms,caption\na,1001,2500,1499,A dog\n")
    row = read_rows(file)[0]
    assert (row.name, row.start, row.end, row.length) == ("a_1.001_2.5", 1.001, 2.5, 1.499)


@pytest.mark.parametrize(
    "columns", ["start_time,end_frame", "first_sample_start,end", "begin,tmax", "t_min,stop,length"]
)
def test_of_parts_both_ends_are_read_or_none(columns: str, tmp_path: Path) -> None:
    file = tmp_path / "parts.csv"
    file.write_text(f"file,{columns},caption\na,{','.join('5' for _ in columns.split(','))},A dog\n")
    with pytest.raises(DataError, match=r"parts\.csv: expected both ends") as caught:
        read_rows(file)
    assert all(column in str(caught.value) for column in columns.split(",")[:2])


def test_two_columns_for_one_time_must_agree(tmp_path: Path) -> None:
    file = tmp_path / "parts.csv"
    file.write_text("file,start,start_ms,end,caption\na,5,5300,10,A dog\n")
    assert list(read_clips(file)) == ["a_5_10"]
    file.write_text("file,start,start_ms,end,caption\na,5,6000,10,A dog\n")
    assert list(read_clips(file)) == ["a_5_10"]
    for apart in ("0,1500", "1.5,0"):
        file.write_text(f"file,start,start_ms,end,caption\na,{apart},10,A dog\n")
        with pytest.raises(DataError, match=r"1\.5 s"):
            read_rows(file)
    file.write_text("file,start,offset,end,caption\na,5,7,10,A dog\n")
    with pytest.raises(DataError, match=r"line 2: expected one start of a part, got 5 s as start and 7 s as offset"):
        read_rows(file)


@pytest.mark.parametrize("name", ["start time", "startTime", "Start-Time"])
def test_a_start_is_found_however_its_column_is_spelled(name: str, tmp_path: Path) -> None:
    file = tmp_path / "parts.csv"
    file.write_text(f"file,{name},caption\na,1,A dog\n")
    assert list(read_clips(file)) == ["a_1"]


@pytest.mark.parametrize(
    ("times", "name"),
    [
        ("0,5", "a_0_5"),
        ("2.5,5", "a_2.5_7.5"),
        ("0.1,0.2", "a_0.1_0.3"),
        ("3,", "a_3"),
        (",5", "a"),
        ("nan,5", "a"),
    ],
)
def test_behind_a_start_a_duration_is_the_part_s(times: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "parts.csv"
    file.write_text(f"file,offset,duration,caption\na,{times},A dog\n")
    assert list(read_clips(file)) == [name]


@pytest.mark.parametrize(("start", "name"), [(0, "a_0_5"), (1, "a_1_6"), (1.5, "a_1.5_6.5")])
def test_a_start_may_be_a_number(start: float, name: str, tmp_path: Path) -> None:
    file = tmp_path / "parts.json"
    file.write_text(json.dumps([{"file": "a", "start": start, "duration": 5, "caption": "A dog"}]))
    assert list(read_clips(file)) == [name]


def test_a_part_of_a_video_has_all_its_captions(tmp_path: Path) -> None:
    file = tmp_path / "videos"
    file.write_text('{"youtube_id": "v", "start_time": 30, "captions": ["A", "B"]}')
    assert read_clips(file) == {"v": ["A", "B"]}


def test_a_column_that_chooses_rows_is_named_if_it_chooses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "clips.csv"
    file.write_text("file,split,fold,caption\na,train,1,A\nb,test,1,B\n")
    with caplog.at_level("WARNING"):
        read_clips(file)
    assert "split (train, test)" in caplog.text
    assert "fold" not in caplog.text


@pytest.mark.parametrize("caption", ['("Help!")', "[A dog, Rain]", "{loud}", "b", "A dog: [bark]", "\U0001f415", "10"])
def test_brackets_and_signs_may_be_a_caption(caption: str, tmp_path: Path) -> None:
    file = tmp_path / "captions.jsonl"
    file.write_text(json.dumps({"id": "a", "caption": caption}))
    assert read_clips(file) == {"a": [caption]}


@pytest.mark.parametrize(
    ("columns", "values", "warned"),
    [
        ("file,path", "a.wav,/d/x/a", False),
        ("file,id", "a.wav,7", False),
        ("file,path", "a.wav,x/b.wav", True),
        ("audio,file_name", "x/a.wav,y/a.wav", True),
    ],
)
def test_columns_of_files_that_contradict_each_other_are_named(
    columns: str, values: str, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "clips.csv"
    file.write_text(f"{columns},caption\n{values},A dog\n")
    with caplog.at_level("WARNING"):
        read_clips(file)
    assert ("clips.csv, line 2" in caplog.text) == warned


@pytest.mark.parametrize(
    ("columns", "values", "length"),
    [
        ("id,duration", "a,7.5", 7.5),
        ("id,start,end", "a,2,5", 3),
        ("id,start,end", "a,0,0.5", 0.5),
        ("id,start,end,duration", "a,2,5,0", 3),
        ("id,duration", "a,0.5", 0.5),
        ("ytid,start", "a,2", None),
        ("id,dur", "a,0:05", None),
    ],
)
def test_the_length_that_a_row_states(columns: str, values: str, length: float | None, tmp_path: Path) -> None:
    file = tmp_path / "clips.csv"
    file.write_text(f"{columns},caption\n{values},A dog\n")
    assert [row.length for row in read_rows(file)] == [length]


def test_what_is_no_caption_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.json").write_text("[]")
    cases = {tmp_path: "folder", tmp_path / "pipe": "pipe", Path("https://host/a.csv"): "download"}
    for place, said in (cases | {tmp_path / "empty.json": "no captions"}).items():
        with pytest.raises(DataError, match=rf"{place}.*{said}"):
            read_rows(place)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_rows(tmp_path / "nowhere.csv")
