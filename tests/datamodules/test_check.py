import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from consistency_tta.audio.sound_file import Fault
from consistency_tta.datamodules.check import check_headers, check_samples, data_check, doubtful, listing
from consistency_tta.datamodules.clips import read_captions


@pytest.fixture
def corpus(tmp_path: Path, write_tone) -> tuple[Path, Path]:
    """Seven clips, of which "good" and "also" can be used."""
    audio = tmp_path / "audio"
    write_tone("good.wav", rate=44100, seconds=2)
    write_tone("also.flac", rate=8000, seconds=2)
    write_tone("short.ogg", seconds=0.2)
    write_tone("silent.wav", level=0)
    (audio / "broken.mp3").write_text("not audio")
    soundfile.write(audio / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    rows = [
        f"{i},{name},0,A sound" for i, name in enumerate(["good", "also", "short", "silent", "broken", "nan", "gone"])
    ]
    captions = tmp_path / "captions.csv"
    captions.write_text("audiocap_id,youtube_id,start_time,caption\n" + "\n".join(rows))
    return captions, audio


def test_samples_finds_everything(corpus: tuple[Path, Path]) -> None:
    findings = check_samples(read_captions(*corpus), min_seconds=0.5)
    assert {finding.id: finding.fault.value for finding in findings} == {
        "short": "too short",
        "silent": "silent",
        "broken": "unreadable",
        "nan": "not finite",
        "gone": "missing",
    }


def test_what_a_download_left_half_is_truncated(write_tone, tmp_path: Path) -> None:
    """Of an MP3 training would read past the end, of a WAV it would hear less than was captioned."""
    for name in ("half.wav", "other.mp3"):
        file = write_tone(name, seconds=4)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    rows = [f'{{"location": "{name}", "captions": "A tone"}}' for name in ("half", "other")]
    (tmp_path / "captions.json").write_text("\n".join(rows))
    findings = check_samples(read_captions(tmp_path / "captions.json", tmp_path / "audio"), min_seconds=0.5)
    assert {finding.id: finding.fault.value for finding in findings} == {"half": "truncated", "other": "truncated"}


def test_headers_finds_what_headers_tell(corpus: tuple[Path, Path]) -> None:
    findings = check_headers(read_captions(*corpus), min_seconds=0.5)
    assert {finding.id for finding in findings} == {"short", "broken", "gone"}


def test_ambiguous_clips_are_missing_and_why(write_tone, tmp_path: Path) -> None:
    write_tone("cat/1.wav")
    write_tone("dog/1.wav")
    (tmp_path / "captions.json").write_text('{"location": "1.wav", "captions": "A tone"}')
    clips = read_captions(tmp_path / "captions.json", tmp_path / "audio")
    for check in (check_headers, check_samples):
        (finding,) = check(clips, min_seconds=0.5)
        assert (finding.id, finding.fault.value) == ("1", "missing")
        assert finding.detail.startswith("ambiguous: 1 could be cat/1.wav, dog/1.wav: name the folder")


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


def test_long_listings_are_cut(corpus: tuple[Path, Path]) -> None:
    findings = check_headers(read_captions(*corpus), min_seconds=0.5)
    lines = [line for line in listing(findings * 3, limit=2).splitlines() if "missing" in line]
    assert len(lines) == 3
    assert lines[-1] == "  missing: ... and 1 more"


def test_channels_that_cancel_are_said_to(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "audio").mkdir()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)
    for name, second in (("anti", -1.0), ("almost", -0.97), ("stereo", 0.5)):
        soundfile.write(tmp_path / "audio" / f"{name}.wav", np.stack([noise, second * noise], 1), 16000)
    (tmp_path / "c.csv").write_text("file,caption\nanti,A\nalmost,B\nstereo,C\n")
    (bad, odd) = check_samples(read_captions(tmp_path / "c.csv", tmp_path / "audio"), min_seconds=0.5)
    assert (bad.id, bad.fault, bad.usable) == ("anti", Fault.CANCELLED, False)
    assert (odd.id, odd.fault, odd.usable) == ("almost", Fault.CANCELLED, True)
    with pytest.raises(SystemExit):
        data_check(str(tmp_path / "c.csv"), str(tmp_path / "audio"))
    (line,) = [line for line in capsys.readouterr().out.split("\n") if line.startswith("warning: ")]
    assert "almost" in line


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
