"""Every form of caption file gives the same clips, under names that files can have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consistency_tta.cli import main
from consistency_tta.datamodules.clips import read_captions
from consistency_tta.storage.captions import read_clips

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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,caption\n,A\n", "entry 2: expected a name fit for a file, got ''"),
        ("id,caption\n..,A\n", "entry 2: expected a name fit for a file, got '..'"),
        ("id,text\na,A\n", "expected a CSV header .* got the header 'id,text'"),
        ("id,caption\na,A dog, barking\n", "line 2: expected 2 fields"),
        ("id,caption\na, \n", "entry 2: the caption of 'a' is empty"),
        ('{"id": "a"}', "expected an object with location and captions, or id and caption"),
    ],
)
def test_errors_name_the_place(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_clips(tmp_path / "captions.csv")


@pytest.mark.parametrize("name", ["captions.csv", "captions.txt"])
def test_other_text_than_utf8_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes("id,caption\na,A dog\nb,Un café\n".encode("latin-1"))
    said = rf"^error: .*{name}, line 3: expected UTF-8 text, got the byte 0xe9: save it as UTF-8\n"
    with pytest.raises(SystemExit, match=said):
        main(["generate", str(file), "--model", "tiny-student", "--output", str(tmp_path / "out")])
