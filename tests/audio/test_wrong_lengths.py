"""Files whose headers do not say how long they are, or say it wrong: all samples are decoded, or the file is named."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from consistency_tta.audio.sound_file import BadClip, Fault, audio_info, decode_channels, read_whole

RATE, FIRST, SECOND = 16000, 30000, 20000


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples)


def written(kind: str, samples: int = FIRST, seed: int = 0, rate: int = RATE, **options: object) -> bytes:
    file = io.BytesIO()
    subtype = "OPUS" if kind == "OPUS" else None
    kind = "OGG" if kind == "OPUS" else kind
    soundfile.write(file, noise(samples, seed), rate, format=kind, subtype=subtype, **options)
    return file.getvalue()


def both(kind: str) -> bytes:
    """Two files joined by ``cat``."""
    return written(kind) + written(kind, SECOND, seed=1)


def tags(size: int = 5000) -> bytes:
    """ID3v2 with a title of so many bytes."""
    content = b"TIT2" + struct.pack(">I", size) + b"\0\0" + size * b"x"
    return b"ID3\x04\0\0" + bytes(len(content) >> shift & 127 for shift in (21, 14, 7, 0)) + content


def joined_with_tags(kind: str, size: int) -> bytes:
    """Two files with titles at both ends, joined by ``cat``."""
    old_tags = b"TAG" + 125 * b" "
    return tags(size) + written(kind) + old_tags + tags(size) + written(kind, SECOND, seed=1) + old_tags


def rifx(size: int | None = None) -> bytes:
    """A WAV file with the greatest byte first, and a length of the samples in its header."""
    content = written("WAV", endian="BIG")
    place = content.index(b"data") + 4
    return content if size is None else content[:place] + struct.pack(">I", size) + content[place + 4 :]


def flac_total(total: int) -> bytes:
    content = bytearray(written("FLAC"))
    content[21] &= 0xF0
    content[22:26] = total.to_bytes(4)
    return bytes(content)


def wav_size(size: int, riff: int | None = None) -> bytes:
    content = written("WAV")
    place = content.index(b"data") + 4
    riff_size = content[4:8] if riff is None else struct.pack("<I", riff)
    return content[:4] + riff_size + content[8:place] + struct.pack("<I", size) + content[place + 4 :]


def aiff_of_sox() -> bytes:
    """What sox writes into a pipe."""
    content = written("AIFF")
    place, common = content.index(b"SSND") + 4, content.index(b"COMM") + 10
    content = content[:place] + struct.pack(">I", 0x7F000008) + content[place + 4 :]
    return content[:common] + struct.pack(">I", 0x7F000000 // 2) + content[common + 4 :]


def rf64(size: int) -> bytes:
    content = written("RF64")
    place = content.index(b"ds64") + 8
    return content[:place] + struct.pack("<QQ", 0, size) + content[place + 16 :]


def headless_mp3(*parts: np.ndarray) -> bytes:
    """Frames of other bit rates than the first: what the decoder guesses by that is too short, or too long."""
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(parts), RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.1)
    content = file.getvalue()
    return content[content.index(content[:2], 2) :]


def mp3_frames(stated: int) -> bytes:
    """An MP3 whose first frame states a number of frames."""
    content = written("MP3")
    place = max(content.find(b"Xing"), content.find(b"Info")) + 8
    return content[:place] + stated.to_bytes(4) + content[place + 4 :]


def ogg_without_a_page() -> bytes:
    """The page before the last is missing."""
    content = written("OGG", 10 * FIRST)
    last = content.rindex(b"OggS")
    return content[: content.rindex(b"OggS", 0, last)] + content[last:]


def ogg_of_zeros() -> bytes:
    """The second half was never written, as programs leave it that reserve a download's place."""
    content = written("OGG", 10 * FIRST)
    pages = [at for at in range(len(content)) if content.startswith(b"OggS", at)]
    kept = content[: pages[len(pages) // 2]]
    return kept + bytes(len(content) - len(kept))


def wav_rate(rate: int, bandwidth: int = 2 * RATE) -> bytes:
    """A WAV file that states another rate, and so many bytes a second."""
    content = written("WAV")
    at = content.index(b"fmt ") + 12
    return content[:at] + struct.pack("<II", rate, bandwidth) + content[at + 8 :]


def wav_format(place: int, value: int) -> bytes:
    """A number of two bytes in the chunk of the format."""
    content = written("WAV")
    place += content.index(b"fmt ") + 8
    return content[:place] + struct.pack("<H", value) + content[place + 2 :]


def ogg_of_a_damaged_page() -> bytes:
    """A bit of a page in the middle is another: the decoder would leave the page out."""
    content = bytearray(written("OGG", 10 * FIRST))
    content[len(content) // 2] ^= 1
    return bytes(content)


def flac_rate(rate: int) -> bytes:
    """A FLAC file whose header states a rate in Hz that its frames do not have."""
    content = bytearray(written("FLAC"))
    content[18:21] = (rate << 4 | content[20] & 15).to_bytes(3)
    return bytes(content)


QUIET, LOUD = noise(FIRST) * 1e-4, noise(FIRST)
DECODED: dict[str, tuple[Callable[[], bytes], int]] = {
    "flac.0": (lambda: flac_total(0), FIRST),
    "flac.more": (lambda: flac_total(5 * FIRST), FIRST),
    "flac.less": (lambda: flac_total(1000), FIRST),
    "flac.joined": (lambda: both("FLAC"), FIRST + SECOND),
    "flac.equal": (lambda: written("FLAC") + written("FLAC", seed=1), 2 * FIRST),
    "ogg.joined": (lambda: both("OGG"), FIRST + SECOND),
    "opus.joined": (lambda: both("OPUS"), FIRST + SECOND),
    "mp3.joined": (lambda: both("MP3"), FIRST + SECOND),
    **{f"flac.joined, tags of {n}": (partial(joined_with_tags, "FLAC", n), FIRST + SECOND) for n in (50, 5000)},
    **{f"mp3.joined, tags of {n}": (partial(joined_with_tags, "MP3", n), FIRST + SECOND) for n in (50, 5000)},
    "mp3.quiet first": (lambda: headless_mp3(QUIET, LOUD), 2 * FIRST),
    "mp3.loud first": (lambda: headless_mp3(LOUD, QUIET), 2 * FIRST),
    "mp3.titles behind": (lambda: written("MP3") + b"TAG" + 125 * b" ", FIRST),
    "mp3.one frame stated": (lambda: mp3_frames(1), FIRST),
    "mp3.half of them stated": (lambda: mp3_frames(10), FIRST),
    "flac.zeros behind": (lambda: written("FLAC") + bytes(200_000), FIRST),
    "mp3.zeros behind": (lambda: written("MP3") + bytes(9000), FIRST),
    "wav.0": (lambda: wav_size(0), FIRST),
    "wav.0, too": (lambda: wav_size(0, riff=0), FIRST),
    "wav.sox": (lambda: wav_size(0x7FFFF000, riff=0x7FFFF024), FIRST),
    "wav.ffmpeg": (lambda: wav_size(0xFFFFFFFF, riff=0xFFFFFFFF), FIRST),
    "wav.rf64, 0": (lambda: rf64(0), FIRST),
    "wav.rf64, -1": (lambda: rf64((1 << 64) - 1), FIRST),
    "wav.RIFX": (rifx, FIRST),
    "wav.RIFX, 0": (lambda: rifx(0), FIRST),
    "wav.RIFX, -1": (lambda: rifx(0xFFFFFFFF), FIRST),
    "wav.AIFF of sox": (aiff_of_sox, FIRST),
    "wav.titles behind": (lambda: written("WAV") + b"LIST" + struct.pack("<I", 6000) + 6000 * b"x", FIRST),
    "wav.W64, bytes behind": (lambda: written("W64") + b"bext" + bytes(20) + 6000 * b"x", FIRST),
    "wav.no bytes a second": (lambda: wav_rate(RATE, 0), FIRST),
    "wav.a damaged chunk behind": (lambda: written("WAV") + b"LIST" + struct.pack("<I", 6000) + 600 * b"x", FIRST),
    "wav.zeros behind": (lambda: written("WAV") + bytes(9000), FIRST),
}


@pytest.mark.parametrize("case", DECODED)
def test_all_samples_are_decoded(case: str, tmp_path: Path) -> None:
    make, samples = DECODED[case]
    file = tmp_path / f"a.{case.partition('.')[0]}"
    file.write_bytes(make())
    slack = 3500 if case.startswith("mp3") else 0  # an encoder's delay, where no header says it
    rate, frames, channels = audio_info(file)
    assert (rate, channels) == (RATE, 1)
    assert samples <= frames <= samples + slack
    sound = read_whole(file)
    assert samples <= len(sound.waveform) <= samples + slack
    (part,), _ = decode_channels(file, samples - 500, 400)  # near the end, where training's last crop begins
    np.testing.assert_allclose(part.numpy(), sound.waveform[samples - 500 : samples - 100].numpy(), atol=2e-3)
    if slack == 0 and "joined" not in case and "equal" not in case:
        np.testing.assert_allclose(sound.waveform.numpy(), noise(FIRST), atol=1e-4)
    if case.startswith(("flac.joined", "flac.equal")):
        second = noise(len(sound.waveform) - FIRST, seed=1)
        np.testing.assert_allclose(sound.waveform[FIRST:].numpy(), second, atol=1e-4)


def cut(kind: str) -> bytes:
    return written(kind)[:-5000]


def followed(kind: str, by: str) -> bytes:
    """A sound with a file of another kind behind it."""
    return written(kind) + written(by, SECOND)


def stated_less(kind: str) -> bytes:
    """A length of 2000 bytes in the place of the samples'."""
    content = written(kind)
    place, form = {
        "AIFF": (content.find(b"SSND") + 4, ">I"),
        "AU": (8, ">I"),
        "CAF": (content.find(b"data", 30) + 4, ">q"),
        "W64": (content.find(b"data") + 16, "<q"),
    }[kind]
    return content[:place] + struct.pack(form, 2000) + content[place + struct.calcsize(form) :]


def ogg_position() -> bytes:
    """The last page's end is before the page's before it, so the decoder would leave it out."""
    content = written("OGG")
    place = content.rindex(b"OggS") + 6
    return content[:place] + bytes(8) + content[place + 8 :]


def at_once() -> bytes:
    """Two streams of sound whose first pages follow each other: they play together."""
    first, second = written("OGG"), written("OGG", SECOND, seed=1)
    place = first.index(b"OggS", 4)
    return first[:place] + second + first[place:]


NAMED: dict[str, tuple[Callable[[], bytes], Fault]] = {
    "wav.joined": (lambda: both("WAV"), Fault.UNREADABLE),
    "wav.less": (lambda: wav_size(2000), Fault.UNREADABLE),
    "wav.a little less": (lambda: wav_size(2 * FIRST - 400), Fault.UNREADABLE),
    "wav.half the rate": (lambda: wav_rate(RATE // 2), Fault.UNREADABLE),
    "wav.cut": (lambda: written("WAV")[:-5000], Fault.TRUNCATED),
    "wav.RIFX, less": (lambda: rifx(2000), Fault.UNREADABLE),
    "wav.RIFX, more": (lambda: rifx(3 * FIRST), Fault.TRUNCATED),
    "flac.cut": (lambda: written("FLAC")[:-5000], Fault.TRUNCATED),
    "flac.cut, 0": (lambda: flac_total(0)[:-5000], Fault.TRUNCATED),
    "ogg.cut": (lambda: written("OGG")[:-500], Fault.TRUNCATED),
    "mp3.cut": (lambda: written("MP3")[:-5000], Fault.TRUNCATED),
    "mp3.two rates": (lambda: written("MP3") + written("MP3", rate=44100), Fault.UNREADABLE),
    "ogg.two rates": (lambda: written("OGG") + written("OGG", rate=44100), Fault.UNREADABLE),
    "wav.empty": (lambda: b"", Fault.UNREADABLE),
    "wav.page": (lambda: b"\n<!DOCTYPE html><html></html>", Fault.UNREADABLE),
    "wav.aac": (lambda: b"\xff\xf1\x60\x40" + noise(500).tobytes(), Fault.UNREADABLE),
    "mp3.aac": (lambda: b"\xff\xf1\x60\x40" + noise(500).tobytes(), Fault.UNREADABLE),
    "mp3.m4a": (lambda: b"\0\0\0\x1cftypM4A " + noise(500).tobytes(), Fault.UNREADABLE),
    "ogg.webm": (lambda: b"\x1aE\xdf\xa3" + noise(500).tobytes(), Fault.UNREADABLE),
    "flac.lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", Fault.UNREADABLE),
    "flac.zeros": (lambda: bytes(5000), Fault.UNREADABLE),
    "wav.text": (lambda: b"not audio", Fault.UNREADABLE),
    "wav.header alone": (lambda: written("WAV", 0), Fault.TOO_SHORT),
    **{f"wav.{kind} cut": (partial(cut, kind), Fault.TRUNCATED) for kind in ("AIFF", "AU", "W64")},
    **{f"wav.{kind} less": (partial(stated_less, kind), Fault.UNREADABLE) for kind in ("AIFF", "AU", "CAF", "W64")},
    "wav.MP3 behind": (lambda: written("WAV") + b"ID3" + bytes(7) + written("MP3"), Fault.UNREADABLE),
    "ogg.MP3 behind": (lambda: written("OGG") + written("MP3"), Fault.UNREADABLE),
    "wav.1 Hz": (lambda: written("WAV", rate=1), Fault.UNREADABLE),
    "wav.4 GHz": (lambda: written("WAV").replace(struct.pack("<I", RATE), b"\xff" * 4, 1), Fault.UNREADABLE),
    **{f"flac.{kind} behind": (partial(followed, "FLAC", kind), Fault.UNREADABLE) for kind in ("MP3", "WAV", "OGG")},
    **{f"mp3.{kind} behind": (partial(followed, "MP3", kind), Fault.UNREADABLE) for kind in ("FLAC", "WAV", "OGG")},
    "ogg.a page less": (ogg_without_a_page, Fault.UNREADABLE),
    "ogg.zeros": (ogg_of_zeros, Fault.TRUNCATED),
    "wav.two channels of one": (lambda: wav_format(2, 2), Fault.UNREADABLE),
    "wav.24 bits of 16": (lambda: wav_format(14, 24), Fault.UNREADABLE),
    "mp3.transport stream": (lambda: (b"G" + bytes(187)) * 20, Fault.UNREADABLE),
    "ogg.damaged page": (ogg_of_a_damaged_page, Fault.UNREADABLE),
    "flac.half the rate": (lambda: flac_rate(RATE // 2), Fault.UNREADABLE),
    "wav.joined, unknown": (lambda: 2 * wav_size(0xFFFFFFFF), Fault.UNREADABLE),
    "wav.joined, 0": (lambda: 2 * wav_size(0), Fault.UNREADABLE),
    **{f"wav.{kind} joined": (partial(both, kind), Fault.UNREADABLE) for kind in ("AIFF", "CAF", "W64", "NIST")},
    "wav.NIST cut": (partial(cut, "NIST"), Fault.TRUNCATED),
    **{f"wav.{kind}": (partial(written, kind), Fault.UNREADABLE) for kind in ("VOC", "AVR", "PAF", "IRCAM")},
    "ogg.at once": (at_once, Fault.UNREADABLE),
    "ogg.position": (ogg_position, Fault.UNREADABLE),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_cannot_be_decoded_whole_is_a_bad_clip(case: str, tmp_path: Path) -> None:
    make, fault = NAMED[case]
    file = tmp_path / f"a.{case.partition('.')[0]}"
    file.write_bytes(make())
    with pytest.raises(BadClip) as caught:
        read_whole(file)
    assert caught.value.fault == fault


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "W64", "NIST"])
def test_content_of_another_kind_than_the_name_is_read(kind: str, tmp_path: Path) -> None:
    for extension in ("wav", "flac", "ogg", "mp3"):
        (tmp_path / f"a.{extension}").write_bytes(written(kind))
        assert len(read_whole(tmp_path / f"a.{extension}").waveform) == FIRST


def test_a_file_that_was_replaced_is_inspected_again(tmp_path: Path) -> None:
    for samples in (FIRST, SECOND):
        (tmp_path / "a.wav").write_bytes(written("WAV", samples))
        assert audio_info(tmp_path / "a.wav")[1] == samples


def test_a_conversion_that_is_proposed_writes_another_file(tmp_path: Path) -> None:
    content = bytearray(written("FLAC"))
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(BadClip, match=r"ffmpeg -i a\.flac a_\w+\.flac"):
        read_whole(tmp_path / "a.flac")
