"""Sound files as they come: whole, cut short, damaged."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from consistency_tta.audio.sound_file import BadClip, Fault, decode_channels, read_whole


def test_mono_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.9, 0.9, (500, 3)), 16000, subtype="FLOAT")
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    sound = read_whole(tmp_path / "a.wav")
    assert (sound.sample_rate, sound.channels) == (16000, 3)
    np.testing.assert_allclose(sound.waveform.numpy(), samples.mean(axis=1), atol=1e-7)


def test_bad_clip_survives_processes() -> None:
    bad = BadClip(Fault.SILENT, "no sample above -200 dBFS")
    for twin in (pickle.loads(pickle.dumps(bad)), copy.copy(bad)):
        assert (twin.fault, twin.detail, str(twin)) == (bad.fault, bad.detail, "silent: no sample above -200 dBFS")


@pytest.mark.parametrize("length", [0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_length_that_was_not_known_says_nothing(length: int, tmp_path: Path) -> None:
    """As programs write it that write into a pipe."""
    soundfile.write(tmp_path / "whole.wav", np.full(100, 0.1), 16000)
    content = (tmp_path / "whole.wav").read_bytes()
    place = content.index(b"data") + 4
    said = length.to_bytes(4, "little")
    (tmp_path / "piped.wav").write_bytes(content[:4] + said + content[8:place] + said + content[place + 4 :])
    assert len(read_whole(tmp_path / "piped.wav").waveform) == 100


def write_mp3(file: Path, rate: int, mode: str, level: float = 0.5) -> np.ndarray:
    """Near silence and then a second of noise, of which a frame has more bits where their number may change."""
    samples = np.random.default_rng(0).normal(0, 0.2, 2 * rate) * np.repeat([1e-4, 1], rate)
    soundfile.write(file, samples, rate, bitrate_mode=mode, compression_level=level)
    return samples


PICTURE = b"ID3\x04\x00\x00\x00\x00\x02\x05" + 261 * b"p"  # 2 * 128 + 5


@pytest.mark.parametrize("titles", [b"", PICTURE], ids=["plain", "titles"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_an_mp3_file_cut_short_is_told(mode: str, rate: int, titles: bytes, tmp_path: Path) -> None:
    samples = write_mp3(tmp_path / "a.mp3", rate, mode)
    content = titles + (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "whole.mp3").write_bytes(content)
    assert len(read_whole(tmp_path / "whole.mp3").waveform) == len(samples)
    for left in (0.33, 0.8):
        (tmp_path / "cut.mp3").write_bytes(content[: int(left * len(content))])
        with pytest.raises(BadClip) as caught:
            read_whole(tmp_path / "cut.mp3")
        assert caught.value.fault == Fault.TRUNCATED


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_guess_at_an_mp3s_length_is_no_promise(rate: int, tmp_path: Path) -> None:
    """Without the first frame, which has the length, the decoder guesses; at the least bit rate there is no room."""
    samples = write_mp3(tmp_path / "a.mp3", rate, "VARIABLE")
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "headless.mp3").write_bytes(content[content.index(content[:2], 2) :])
    assert soundfile.info(tmp_path / "headless.mp3").frames > 1.5 * len(samples)
    write_mp3(tmp_path / "least.mp3", rate, "CONSTANT", level=0.99)
    for name in ("headless", "least"):
        assert len(samples) <= len(read_whole(tmp_path / f"{name}.mp3").waveform) < len(samples) + 3000


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("samples", [1, 1000, 30000])
def test_a_whole_file_is_whole(samples: int, extension: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"a.{extension}", np.full((samples, 2), 0.1), 22050)
    sound = read_whole(tmp_path / f"a.{extension}")
    assert (len(sound.waveform), sound.sample_rate, sound.channels) == (samples, 22050, 2)


@pytest.mark.parametrize("kind", ["GSM610", "G721_32", "NMS_ADPCM_16"])
def test_a_wav_file_of_a_telephone_is_read_and_cut(kind: str, tmp_path: Path) -> None:
    """The decoder finds no place in it."""
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(0.2 * np.arange(4800)), 8000, subtype=kind)
    whole = read_whole(tmp_path / "a.wav").waveform
    assert 4800 <= len(whole) <= 4800 + 640  # whole blocks
    assert whole[:4800].std() == pytest.approx(0.3 / 2**0.5, rel=0.2)
    part, _ = decode_channels(tmp_path / "a.wav", 1000, 500)
    assert part[0].equal(whole[1000:1500])


@pytest.mark.parametrize("level", [0.9, 3e-4])
@pytest.mark.parametrize(("second", "fault"), [(-1.0, Fault.CANCELLED), (-0.97, None), (0.0, None), (1.0, None)])
def test_channels_that_cancel_are_no_silence(second: float, fault: Fault | None, level: float, tmp_path: Path) -> None:
    if level < 0.001 and second == -0.97:
        fault = Fault.CANCELLED  # the mean, 36 dB weaker, is silent
    tone = np.random.default_rng(0).uniform(-level, level, 4000)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, second * tone], 1), 16000, subtype="FLOAT")
    if fault is None:
        assert bool(read_whole(tmp_path / "a.wav").cancelling) == (second == -0.97)
        return
    with pytest.raises(BadClip) as caught:
        read_whole(tmp_path / "a.wav")
    assert caught.value.fault == fault


def test_an_offset_of_channels_that_cancel_is_no_sound(tmp_path: Path) -> None:
    tone = np.random.default_rng(0).uniform(-0.3, 0.3, 4000)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, -tone], 1) + 0.05, 16000, subtype="FLOAT")
    with pytest.raises(BadClip) as caught:
        read_whole(tmp_path / "a.wav")
    assert caught.value.fault == Fault.CANCELLED
