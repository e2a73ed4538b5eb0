from pathlib import Path

import numpy as np
import soundfile

from consistency_tta.audio.sound_file import Fault
from consistency_tta.datamodules.check import check_headers, check_samples, listing
from consistency_tta.datamodules.clips import read_captions


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


def test_long_listings_are_cut(corpus: tuple[Path, Path]) -> None:
    findings = check_headers(read_captions(*corpus), min_seconds=0.5)
    lines = [line for line in listing(findings * 3, limit=2).splitlines() if "missing" in line]
    assert len(lines) == 3
    assert lines[-1] == "  missing: ... and 1 more"


def test_channels_that_almost_cancel_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)
    for name, second in (("anti", -1.0), ("almost", -0.97), ("stereo", 0.5)):
        soundfile.write(tmp_path / "audio" / f"{name}.wav", np.stack([noise, second * noise], 1), 16000)
    (tmp_path / "c.csv").write_text("file,caption\nanti,A\nalmost,B\nstereo,C\n")
    (bad, odd) = check_samples(read_captions(tmp_path / "c.csv", tmp_path / "audio"), min_seconds=0.5)
    assert (bad.id, bad.fault, bad.usable) == ("anti", Fault.CANCELLED, False)
    assert (odd.id, odd.fault, odd.usable) == ("almost", Fault.CANCELLED, True)
