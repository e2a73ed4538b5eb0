"""The command ``data-check``, on caption files and on datamodules."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from consistency_tta.datamodules import SyntheticDataModule, WebDatasetDataModule
from consistency_tta.datamodules.clips import read_captions
from consistency_tta.datamodules.data_check import data_check, doubtful
from consistency_tta.runtime.errors import ConfigurationError


def warnings(printed: str) -> list[str]:
    return [line for line in printed.split("\n") if line.startswith("warning: ")]


def test_data_check_prints_and_writes(corpus: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    captions, audio = corpus
    output = tmp_path / "new" / "report.json"
    with pytest.raises(SystemExit) as caught:
        data_check([str(captions)], str(audio), output=str(output))
    assert caught.value.code == 1
    printed = capsys.readouterr().out
    assert "5 of 7 clips cannot be used (1 missing, 1 unreadable, 1 too short, 1 not finite, 1 silent)" in printed
    assert "too short: short (0.200 s, expected at least 0.5 s)" in printed
    assert "1 clips at 8000 Hz, 1 clips at 44100 Hz" in printed
    report = json.loads(output.read_text())
    assert (report["num_clips"], report["below_sample_rate"], len(report["bad_clips"])) == (7, 1, 5)
    assert report["usable_hours"] == pytest.approx(4 / 3600, abs=1e-3)


def test_data_check_of_good_data_returns(write_tone, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_tone("a.wav")
    (tmp_path / "captions.json").write_text('{"location": "a.wav", "captions": "A tone"}')
    data_check(str(tmp_path / "captions.json"), str(tmp_path / "audio"))
    assert capsys.readouterr().out.startswith("0 of 1 clips cannot be used; ")


def test_doubtful_names_and_captions_are_warned_of(write_tone, tmp_path: Path) -> None:
    for name in ("v_30.wav", "Yv_30_40.wav", "a/x.wav"):
        write_tone(name)
    content = "audiocap_id,youtube_id,start_time,caption\n1,v,30,Rain\n2,v,30,Rain\n3,w,0,A\n"
    (tmp_path / "c.csv").write_text(content)
    warnings = doubtful(read_captions(tmp_path / "c.csv", tmp_path / "audio"))
    assert [name in warning for name, warning in zip(("Yv_30_40.wav", "Rain"), warnings, strict=True)] == [True, True]
    (tmp_path / "c.csv").write_text("file,caption\nx,Rain\n/d/x,Wind\nz/x,Sun\n")
    clips = read_captions(tmp_path / "c.csv", tmp_path / "audio")
    for clip in clips:
        clip.path, clip.missing, clip.ambiguous = tmp_path / "audio/a/x.wav", "", ""
    (warning,) = doubtful(clips)
    assert "x.wav" in warning


def test_what_is_strange_is_warned_of(write_tone, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Half a file of zeros, channels that almost cancel, and another length than the caption file states."""
    for name in ("half.wav", "long.wav", "samples.wav"):
        file = write_tone(name, seconds=2)
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    (tmp_path / "audio" / "half.wav").write_bytes(content)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)
    soundfile.write(tmp_path / "audio" / "almost.wav", np.stack([noise, -0.97 * noise], 1), 16000)
    (tmp_path / "c.csv").write_text("file,duration,caption\nhalf,2,A\nlong,10,B\nsamples,32000,C\nalmost,,D\n")
    data_check(str(tmp_path / "c.csv"), str(tmp_path / "audio"))
    lines = warnings(capsys.readouterr().out)
    names = ("half", "almost", "long")
    assert [name in line for name, line in zip(names, lines, strict=True)] == [True, True, True]
    assert "samples" not in "".join(lines)


def test_times_that_are_no_seconds_find_no_whole_file(write_tone, tmp_path: Path) -> None:
    write_tone("long.wav", seconds=2)
    (tmp_path / "c.csv").write_text("file,start_time,end_time,caption\nlong,0,2000,A\nlong,0,10,B\n")
    milliseconds, seconds = read_captions(tmp_path / "c.csv", tmp_path / "audio")
    assert "2000 s" in milliseconds.missing
    assert seconds.path.name == "long.wav"


def test_clips_of_a_datamodule_are_decoded_where_they_are(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    whole = io.BytesIO()
    soundfile.write(whole, np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 16000, format="WAV")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, content in {"good.wav": whole.getvalue(), "cut.wav": whole.getvalue()[:-8000]}.items():
            for file, data in ((name, content), (name.replace("wav", "txt"), b"Rain")):
                member = tarfile.TarInfo(file)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    with pytest.raises(SystemExit):
        data_check(data=WebDatasetDataModule(train_shards=str(tmp_path / "a.tar")), output=str(tmp_path / "r.json"))
    assert "truncated: cut" in capsys.readouterr().out
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["num_clips"], report["sample_rates"], len(report["bad_clips"])) == (2, {"16000": 1}, 1)


def test_captions_or_a_datamodule_of_recordings_are_needed(tmp_path: Path) -> None:
    for options in ({}, {"captions": "c.csv"}, {"data": SyntheticDataModule()}, {"data": WebDatasetDataModule()}):
        with pytest.raises(ConfigurationError):
            data_check(**options)
