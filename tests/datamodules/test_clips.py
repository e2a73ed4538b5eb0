import errno
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

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


@pytest.mark.parametrize("folder", ["", "/data/set/", "a/"])
def test_a_part_of_a_video_may_name_its_file(make, folder: str) -> None:
    rows = f"youtube_id,start_time,file_name,caption\nv,0,{folder}1.wav,Rain\nv,30,{folder}2.wav,Wind\nw,30,,Hail\n"
    clips = make(rows, "a/1.wav", "a/2.wav", "w_30.wav")
    assert [(clip.id, clip.path.name) for clip in clips] == [("v_0", "1.wav"), ("v_30", "2.wav"), ("w", "w_30.wav")]


def test_a_part_of_a_video_has_the_file_that_it_names_and_others_are_known(make) -> None:
    header = "youtube_id,start_time,file,caption\n"
    (clip,) = make(header + "v,30,1.wav,Rain\n", "1.wav", "v_30.wav")
    assert (clip.path.name, [path.name for path in clip.others]) == ("1.wav", ["v_30.wav"])
    both = make(header + "v,30,a/1.wav,Rain\nw,30,b/1.wav,Wind\n", "a/1.wav")
    assert [clip.path.exists() for clip in both] == [True, False]  # the file of another clip is none of its


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


def test_missing_caption_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_captions(tmp_path / "none.csv", tmp_path)


def test_audio_folder_must_exist_and_have_audio(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        AudioFolder(tmp_path / "none")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
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
    with pytest.raises(PermissionError, match=closed):
        AudioFolder(tmp_path / "audio")


def test_audio_folder_counts_files(tmp_path: Path) -> None:
    for name in ("a.wav", "b.mp3", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.wav").touch()
    assert len(AudioFolder(tmp_path)) == 3


FORMS = [
    "abcdefghijk", "Yabcdefghijk", "abcdefghijk_30", "Yabcdefghijk_30_40", "abcdefghijk_30.0",
    "abcdefghijk_30.000_40.000",
    "abcdefghijk_30000_40000", "Yabcdefghijk_30000", "abcdefghijk_000030", "abcdefghijk_30-40",
    "deep/abcdefghijk_0030_0040",
]  # fmt: skip


@pytest.mark.parametrize("start", ["30", "30.0", " 30"])
@pytest.mark.parametrize("name", FORMS)
def test_file_names_of_downloaders(make, name: str, start: str) -> None:
    clips = make(HEADER + f"1,abcdefghijk,{start},A\n2,bbcdefghijk,30,B\n", f"{name}.wav")
    assert [clip.path.exists() for clip in clips] == [True, False]


@pytest.mark.parametrize("video", ["-bcdefghijk", "a_bcdefg_30", "--cdefgh_10", "5-103415-A-2", "_Y_", "Yb"])
def test_ids_of_any_letters(make, video: str) -> None:
    clips = make(HEADER + f"1,{video},30,A\n2,other,30,B\n", f"{video}_30.wav", "other_30.wav")
    assert [clip.path.name for clip in clips] == [f"{video}_30.wav", "other_30.wav"]


def test_two_spellings_of_a_start_are_one_part(make) -> None:
    clips = make(HEADER + "1,v,30,A\n2,v,30.0,B\n3,v,0,C\n", "v_30_40.wav", "v_0_10.wav")
    assert [(clip.id, clip.path.name, clip.captions) for clip in clips] == [
        ("v_30", "v_30_40.wav", ["A", "B"]),
        ("v_0", "v_0_10.wav", ["C"]),
    ]


@pytest.mark.parametrize("times", [("30.0000", "60.0000"), ("00030", "00060"), ("5.1250", "7.12345678901234567890")])
@pytest.mark.parametrize("column", ["youtube_id", "file"])
def test_files_may_be_named_by_times_as_the_table_writes_them(make, column: str, times: tuple[str, str]) -> None:
    rows = "".join(f"v,{time},A sound\n" for time in times)
    clips = make(f"{column},start_time,caption\n{rows}", *(f"v_{time}.wav" for time in times))
    assert [clip.path.name for clip in clips] == [f"v_{time}.wav" for time in times]


def test_a_name_that_two_rows_could_mean_is_neither_s(make) -> None:
    """v_30 is a part of v, or a video of its own."""
    clips = make(HEADER + "1,v,30,A\n2,v_30,0,B\n", "v_30.wav")
    assert [clip.path.exists() for clip in clips] == [False, False]
    assert all("v_30.wav" in clip.missing for clip in clips)
    # "Y" in front, or another video.
    videos = HEADER + "1,u,30,A\n2,Yu,30,B\n"
    for file in ("Yu.wav", "Yu_30.wav"):
        assert [clip.path.exists() for clip in make(videos, file)] == [False, False]
    assert [clip.path.name for clip in make(videos, "u_30.wav", "YYu_30.wav")] == ["u_30.wav", "YYu_30.wav"]
    # 30 s in milliseconds is 30000 s in seconds.
    clips = make(HEADER + "1,w,30,A\n2,w,30000,B\n", "w_30000.wav")
    assert [clip.path.exists() for clip in clips] == [False, False]


def test_more_files_that_could_be_a_clip_s_are_named(make) -> None:
    (clip,) = make(HEADER + "1,v,30,A\n", "v_30.wav", "Yv_30_40.wav")
    assert (clip.path.name, [path.name for path in clip.others]) == ("v_30.wav", ["Yv_30_40.wav"])


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_found_however_they_are_written(make, forms: tuple[str, str]) -> None:
    name = "Köln_Glocke é"
    in_file, in_captions = (unicodedata.normalize(form, name) for form in forms)
    for content in (f"file,caption\n{in_captions}.wav,A bell\n", HEADER + f"1,{in_captions},0,A bell\n"):
        (clip,) = make(content, f"a/{in_file}.wav")
        assert clip.path.exists()


def test_two_files_of_one_name_are_told_by_how_it_is_written(make) -> None:
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    clips = make(f"file,caption\n{composed},A\n{apart},B\n", f"{composed}.wav", f"{apart}.wav")
    assert [clip.path.stem for clip in clips] == [composed, apart]


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("phone", "phone.m4a"),
        ("phone.opus", "phone_30s.wav"),
        ("Dog", "dog.wav"),
        ("vid", "vid_segment7.wav"),
        ("barking_dog", "barkin_dog.wav"),
        ("dog%20bark", "dog bark.wav"),
        ("abcdefghijk", "A Title [abcdefghijk].wav"),
        ("17", "00017.wav"),
        ("'phone'", "phone.wav"),
        ("\u200bphone\u200f", "phone.wav"),
    ],
)
def test_what_is_near_a_missing_clip_is_named(make, name: str, there: str) -> None:
    for content in (f"file,caption\n{name},A\n", HEADER + f"1,{name},0,A\n"):
        (clip,) = make(content, there, "unlike.wav")
        assert not clip.path.exists()
        assert there in clip.missing
        assert name in clip.missing


def test_a_file_that_is_named_by_the_number_of_a_caption_is_near(make) -> None:
    (clip,) = make(HEADER + "17,abcdefghijk,30,A\n", "00017.wav", "170.wav")
    assert "there is 00017.wav:" in clip.missing


PARTS = [("0.0", "5.0"), ("5.0", "10.0")]


@pytest.mark.parametrize("form", ["jsonl", "csv", "onset"])
def test_captions_of_parts_are_not_the_whole_file_s(make, form: str) -> None:
    content = {
        "jsonl": "".join(
            json.dumps({"id": "long", "start_time": float(a), "end_time": float(b), "caption": f"At {a}"}) + "\n"
            for a, b in PARTS
        ),
        "csv": "file,start,end,caption\n" + "".join(f"long.wav,{a},{b},At {a}\n" for a, b in PARTS),
        "onset": "file,onset,offset,caption\n" + "".join(f"x/long.wav,{a},{b},At {a}\n" for a, b in PARTS),
    }[form]
    clips = make(content, "x/long.wav")
    assert [clip.captions for clip in clips] == [["At 0.0"], ["At 5.0"]]
    assert [clip.path.exists() for clip in clips] == [False, False]


def test_parts_are_found_as_files_of_their_own_and_a_whole_file_by_its_length(tmp_path: Path) -> None:
    captions = tmp_path / "c.csv"
    captions.write_text("file,start_time,end_time,caption\nlong,0,5,A\nlong,5.0,10.0,B\n")
    soundfile.write(tmp_path / "long.wav", np.zeros(80000), 8000)
    soundfile.write(tmp_path / "long_5_10.wav", np.zeros(40000), 8000)
    first, second = read_captions(captions, tmp_path)
    assert not first.path.exists()
    assert "long.wav" in first.missing
    assert second.path.name == "long_5_10.wav"
    captions.write_text("file,start_time,end_time,caption\nlong,0,10,A\n")
    (clip,) = read_captions(captions, tmp_path)
    assert clip.path.name == "long.wav"
    captions.write_text("file,start_time,caption\nlong,0,A\n")  # says nothing
    assert read_captions(captions, tmp_path)[0].path.name == "long.wav"
    captions.write_text("file,start_time,caption\nlong,2,A\n")
    assert not read_captions(captions, tmp_path)[0].path.exists()


def test_a_file_of_the_same_name_and_another_kind_is_named(make) -> None:
    (clip,) = make("file,caption\ndog.flac,A dog\n", "dog.wav", "dog.flac")
    assert clip.path.name == "dog.wav"
    assert [path.name for path in clip.others] == ["dog.flac"]
