import errno
import json
import os
from pathlib import Path

import pytest

from consistency_tta.datamodules.clips import AudioFolder, read_captions

HEADER = "audiocap_id,youtube_id,start_time,caption\n"


@pytest.fixture
def make(tmp_path: Path):
    """Empty audio files of these names, and a caption file of this content, read."""

    def read(content: str, *files: str):
        for name in files:
            path = tmp_path / "audio" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / "captions").write_text(content, encoding="utf-8")
        return read_captions(tmp_path / "captions", tmp_path / "audio")

    return read


@pytest.mark.parametrize(
    "name", ["vid_30.wav", "Yvid_30.flac", "vid.ogg", "Yvid.mp3", "91.wav", "train/vid.wav", "a/b/vid_30.WAV"]
)
def test_audiocaps_file_names(make, name: str) -> None:
    (clip,) = make(HEADER + "91,vid,30,Rain falls\n", name)
    assert clip.path.as_posix().endswith("audio/" + name)
    assert (clip.id, clip.captions) == ("vid", ["Rain falls"])


def test_several_captions_of_one_clip(make) -> None:
    clips = make(HEADER + '1,b,0,"Rain falls, then stops"\n2,a,0,A dog\n3,b,0, Water \n', "a.wav", "b.wav")
    assert [(clip.id, clip.captions) for clip in clips] == [
        ("b", ["Rain falls, then stops", "Water"]),
        ("a", ["A dog"]),
    ]


def test_two_parts_of_one_video_are_two_clips(make) -> None:
    clips = make(HEADER + "1,v,0,Rain\n2,v,30,Wind\n3,v,30,A storm\n", "v_0.wav", "v_30.wav")
    assert [(clip.id, clip.path.name, clip.captions) for clip in clips] == [
        ("v_0", "v_0.wav", ["Rain"]),
        ("v_30", "v_30.wav", ["Wind", "A storm"]),
    ]


def test_a_file_of_the_whole_video_is_no_part(make) -> None:
    clips = make(HEADER + "1,v,0,Rain\n2,v,30,Wind\n", "v.wav")
    assert [clip.path.exists() for clip in clips] == [False, False]


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("/data/set/x_10.wav", "data_set_x_10"),
        ("x_10.wav", "x_10"),
        ("C:\\data\\x_10.flac", "C_data_x_10"),
        ("other/x_10", "other_x_10"),
    ],
)
def test_json_lines_by_base_name(make, location: str, name: str) -> None:
    lines = json.dumps({"location": location, "captions": "Rain"}) + "\n\n"
    lines += json.dumps({"location": location, "captions": "Water", "dataset": "audiocaps"}) + "\n"
    (clip,) = make(lines, "deep/x_10.ogg")
    assert (clip.id, clip.path.name, clip.captions) == (name, "x_10.ogg", ["Rain", "Water"])


def test_json_list_with_several_captions(make) -> None:
    (clip,) = make(json.dumps([{"location": "x.wav", "captions": ["Rain", "Water"]}]), "x.wav")
    assert clip.captions == ["Rain", "Water"]


def test_json_location_below_the_folder_comes_first(make) -> None:
    (clip,) = make(json.dumps({"location": "b/x.wav", "captions": "Rain"}), "a/x.wav", "b/x.wav")
    assert clip.path.parent.name == "b"


def of_locations(*locations: str) -> str:
    return "\n".join(json.dumps({"location": location, "captions": f"At {location}"}) for location in locations)


@pytest.mark.parametrize("root", ["", "/data/set/", "D:\\set\\"])
def test_json_locations_of_one_name_are_two_clips(make, root: str) -> None:
    clips = make(of_locations(f"{root}dog/1.wav", f"{root}cat/1.wav"), "cat/1.wav", "dog/1.wav")
    assert [clip.path.parent.name for clip in clips] == ["dog", "cat"]
    assert [clip.captions for clip in clips] == [[f"At {root}dog/1.wav"], [f"At {root}cat/1.wav"]]
    assert len({clip.id for clip in clips}) == 2


def test_ids_are_unique_and_fit_for_files(make) -> None:
    clips = make(of_locations("dog/1.wav", "dog_1.wav", "dog 1", "../größe/x"), "dog/1.wav", "dog_1.wav")
    assert [clip.id for clip in clips] == ["dog_1", "dog_1-2", "dog_1-3", ".._größe_x"]
    assert [clip.path.exists() for clip in clips] == [True, True, False, False]


@pytest.mark.parametrize("content", [of_locations("bird/1.wav"), HEADER + "7,1,0,A bird\n"])
def test_a_name_in_several_folders_is_ambiguous(make, content: str) -> None:
    (clip,) = make(content, "cat/1.wav", "dog/1.flac")
    assert not clip.path.exists()
    assert clip.ambiguous.startswith("1 could be cat/1.wav, dog/1.flac: ")


def test_the_missing_clip_does_not_get_its_namesakes_sound(make) -> None:
    clips = make(of_locations("set/dog/1.wav", "set/cat/1.wav", "1.wav"), "cat/1.wav")
    assert [clip.path.exists() for clip in clips] == [False, True, False]
    clips = make(of_locations("cat/1.wav", "1.wav"), "cat/1.wav", "1.wav")
    assert [clip.path.parent.name for clip in clips] == ["cat", "audio"]


def test_one_row_may_tell_what_another_does_not(make) -> None:
    for rows in ("7,v,0,A\n8,v,0,B\n", "8,v,0,B\n7,v,0,A\n"):
        (clip,) = make(HEADER + rows, "a/7.wav", "b/7.wav", "8.wav")
        assert (clip.path.name, clip.ambiguous) == ("8.wav", "")


def test_missing_audio_is_kept_for_the_report(make) -> None:
    clips = make(HEADER + "1,a,0,A dog\n2,gone,0,Rain\n", "a.wav")
    assert [clip.path.exists() for clip in clips] == [True, False]


def test_wav_is_preferred(make) -> None:
    (clip,) = make(HEADER + "1,a,0,A dog\n", "a.mp3", "a.wav")
    assert clip.path.suffix == ".wav"


def test_byte_order_mark(make) -> None:
    assert make("\ufeff" + HEADER + "1,a,0,Café\n", "a.wav")[0].captions == ["Café"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,text\na.wav,Rain\n", "expected a CSV header .* got the header 'name,text'"),
        (HEADER + "1,a,0,Rain, and wind\n", "line 2: expected 4 fields; quote captions"),
        (HEADER + "1,a,0\n", "line 2: expected 4 fields"),
        (HEADER + "1,a,0, \n", "entry 2: the caption of 'a' is empty"),
        (HEADER, "has no captions"),
        ("", "expected a CSV header"),
        ('{"location": "a.wav"}\n', "entry 1: expected an object with location and captions"),
        ('{"location": "a.wav", "captions": "Rain"}\n{"location"\n', "line 2: not valid JSON"),
        ('[{"location": "a.wav",]', "not valid JSON"),
        ('{"location": "a.wav", "captions": 3}', "expected a caption or a list of captions, got 3"),
        ('{"location": "a.wav", "captions": []}', "expected a caption or a list"),
    ],
)
def test_errors_name_the_place(make, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(content, "a.wav")


def test_missing_caption_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"caption file .* does not exist"):
        read_captions(tmp_path / "none.csv", tmp_path)


def test_audio_folder_must_exist_and_have_audio(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        AudioFolder(tmp_path / "none")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"no \.wav"):
        AudioFolder(tmp_path)


@pytest.mark.parametrize("closed", ["audio", "audio/deep"])
def test_a_folder_that_may_not_be_read_is_named(closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sounds would be called missing, one by one."""
    (tmp_path / "audio/deep").mkdir(parents=True)
    (tmp_path / "audio/a.wav").touch()
    scandir = os.scandir

    def refuse(path: str) -> object:  # root, as whom tests may run, reads everything
        if Path(path) == tmp_path / closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=f"got Permission denied for .*{closed}: change its rights"):
        AudioFolder(tmp_path / "audio")


def test_audio_folder_counts_files(tmp_path: Path) -> None:
    for name in ("a.wav", "b.mp3", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.wav").touch()
    assert len(AudioFolder(tmp_path)) == 3
