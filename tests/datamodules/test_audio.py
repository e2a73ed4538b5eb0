from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.audio.resample import Resample
from consistency_tta.audio.sound_file import BadClip, Fault, audio_info, decode_channels
from consistency_tta.datamodules.audio import normalise, read_audio


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (48000, 1), (16000, 1), (8000, 2)])
def test_any_container_rate_and_channel_count(write_tone, extension: str, rate: int, channels: int) -> None:
    path = write_tone(f"a.{extension}", frequency=1000, seconds=1, rate=rate, channels=channels)
    waveform = read_audio(path, 16000, 24000)
    assert waveform.shape == (24000,)
    assert waveform.dtype == torch.float32
    assert waveform.abs().max().item() == pytest.approx(0.5)
    assert not waveform[16500:].any(), "followed by zeros"
    power = torch.fft.rfft(waveform[:16000]).abs().square()
    assert power.argmax() == 1000
    # lossy codecs and the tone's abrupt ends leave a little elsewhere
    assert power[995:1006].sum() / power.sum() > 0.98


def test_mean_is_removed(write_tone) -> None:
    waveform = read_audio(write_tone("a.wav", level=0.2, offset=0.3), 16000, 16000)
    assert abs(waveform.mean().item()) < 1e-6
    torch.testing.assert_close(
        waveform, 0.5 * torch.sin(2 * np.pi * 440 * torch.arange(16000) / 16000), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("position", [0.0, 0.37, 1.0])
def test_part_of_a_longer_clip(tmp_path: Path, extension: str, position: float) -> None:
    # Only the part is read: it must be what reading everything and cutting gives, in compressed files as well.
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 5 * 22050), 22050)
    (waveform,), rate = decode_channels(path)
    wanted = 22050
    start = round(position * (len(waveform) - wanted))
    expected = normalise(Resample(rate, 16000)(waveform[start : start + wanted]))
    torch.testing.assert_close(read_audio(path, 16000, 16000, position=position), expected, atol=1e-5, rtol=0)


def test_a_silent_part_gives_way_to_the_loudest(tmp_path: Path) -> None:
    samples = np.zeros(10 * 16000)
    samples[6 * 16000 : 6 * 16000 + 100] = 0.1 * np.random.default_rng(0).standard_normal(100)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    for position in (0.0, 0.2, 1.0):
        assert read_audio(tmp_path / "a.wav", 16000, 16000, position=position).abs().max().item() == pytest.approx(0.5)


def test_channels_are_kept_and_share_one_gain(tmp_path: Path) -> None:
    left, right = np.random.default_rng(0).uniform(-0.2, 0.2, (2, 44100)) * [[1.0], [0.25]]
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right + 0.1], axis=1), 44100, subtype="FLOAT")
    sound = read_audio(tmp_path / "stereo.wav", 44100, 50000, channels=2)
    assert sound.shape == (2, 50000)
    expected = np.stack([left - left.mean(), right - right.mean()])
    expected *= 0.5 / np.abs(expected).max()
    np.testing.assert_allclose(sound[:, :44100].numpy(), expected, atol=1e-6)
    mono = normalise((torch.from_numpy(left + right + 0.1) / 2).float())
    torch.testing.assert_close(read_audio(tmp_path / "stereo.wav", 44100, 44100), mono, atol=1e-6, rtol=0)
    soundfile.write(tmp_path / "mono.wav", left, 44100, subtype="FLOAT")
    both = read_audio(tmp_path / "mono.wav", 16000, 16000, channels=2)
    assert torch.equal(both[0], both[1])
    assert torch.equal(both[0], read_audio(tmp_path / "mono.wav", 16000, 16000))


def test_opposite_channels_are_not_silence(tmp_path: Path) -> None:
    samples = np.zeros((64000, 2))
    samples[48000:48100] = 0.3 * np.array([1, -1])
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    assert read_audio(tmp_path / "a.wav", 16000, 16000, channels=2).abs().max().item() == pytest.approx(0.5)
    with pytest.raises(BadClip):
        read_audio(tmp_path / "a.wav", 16000, 16000)


def damaged(kind: str, folder: Path) -> Path:
    path = folder / "a.wav"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("<html>404</html>")
    elif kind == "no samples":
        soundfile.write(path, np.zeros(0), 16000)
    elif kind == "short":
        soundfile.write(path, np.ones(100), 16000)
    elif kind == "silent":
        soundfile.write(path, np.zeros(16000), 16000)
    elif kind == "constant":
        soundfile.write(path, np.full(16000, 0.25), 16000)
    elif kind == "long and silent":
        soundfile.write(path, np.zeros(64000), 16000)
    elif kind == "nan":
        soundfile.write(path, np.r_[np.ones(8000), np.nan, np.ones(8000)], 16000, subtype="FLOAT")
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("none", Fault.MISSING),
        ("folder", Fault.MISSING),
        ("empty", Fault.UNREADABLE),
        ("text", Fault.UNREADABLE),
        ("no samples", Fault.TOO_SHORT),
        ("short", Fault.TOO_SHORT),
        ("silent", Fault.SILENT),
        ("constant", Fault.SILENT),
        ("long and silent", Fault.SILENT),
        ("nan", Fault.NOT_FINITE),
    ],
)
def test_every_fault_is_told(tmp_path: Path, kind: str, fault: Fault) -> None:
    with pytest.raises(BadClip) as caught:
        read_audio(damaged(kind, tmp_path), 16000, 32000, min_seconds=0.5)
    assert caught.value.fault == fault


def test_damage_behind_an_intact_header(write_tone) -> None:
    path = write_tone("a.flac", seconds=3)
    path.write_bytes(path.read_bytes()[:200])
    assert audio_info(path) == (16000, 48000, 1)
    with pytest.raises(BadClip) as caught:
        read_audio(path, 16000, 16000)
    assert caught.value.fault == Fault.UNREADABLE
