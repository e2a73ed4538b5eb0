"""A sound file's bytes: what they are, how long the sound in them is, and its samples where the header is wrong.

libsndfile trusts headers: it never reads more samples than they state, and fails on a FLAC file without a number.
Here the bytes are looked at first (``*_layout.py``), and where header and bytes differ the bytes are decoded to their
end. Of a file with a right header nothing but the header, and the frames' own headers, is read.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from consistency_tta.audio.bad_clip import BadClip, Fault
from consistency_tta.audio.chunk_layout import chunk_layout
from consistency_tta.audio.flac_layout import flac_layout
from consistency_tta.audio.foreign import conversion, foreign_kind
from consistency_tta.audio.layout import Bytes, Layout, Part, after_id3
from consistency_tta.audio.mp3_layout import mp3_layout
from consistency_tta.audio.ogg_layout import ogg_layout
from consistency_tta.audio.sound_source import SoundBytes, SoundSource, bytes_of, for_decoder
from consistency_tta.audio.wav_layout import wav_layout

#: Samples read at a time where the number of all is not known.
BLOCK = 1 << 16
#: A header that states more samples has no real number: it would be a thousand years.
KNOWN = 1 << 50
#: Sample rates in Hz of recordings; others are a damaged header, and resampling from them would take hours or fail.
RATES = (1000, 1_000_000)
#: Kinds of file, by libsndfile's names, whose stated length is compared with what there is.
CHECKED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "FLAC", "OGG", "NIST")
ERRORS = (soundfile.SoundFileError, OSError, RuntimeError, MemoryError, ValueError)


class SoundInfo(NamedTuple):
    """What is known of a file.

    Attributes:
        sample_rate: in Hz.
        frames: samples of each channel that can be decoded.
        channels: of the file.
        parts: what must be decoded to the end, one after another; empty if the decoder reads the file right.
        truncated: how the file is cut short, as a sentence; empty if it is not.
    """

    sample_rate: int
    frames: int
    channels: int
    parts: tuple[Part, ...]
    truncated: str


def inspect(source: SoundSource) -> SoundInfo:
    """What is known of a file; of one on disk remembered as long as its size and time stay.

    Raises:
        BadClip: if it is missing or unreadable.
    """
    try:
        info = _inspected(source)
        if not RATES[0] <= info.sample_rate <= RATES[1]:
            raise BadClip(
                Fault.UNREADABLE, f"its header states {info.sample_rate:,} Hz, expected {RATES[0]:,} to {RATES[1]:,}"
            )
        return info
    except ERRORS as error:
        if isinstance(error, BadClip):
            raise
        raise BadClip(Fault.UNREADABLE, decoder_report(error, source)) from error


def decoder_report(error: Exception, source: SoundSource) -> str:
    """What the decoder reports, without the name that it gives to the file, and what to do."""
    name = str(source).rpartition("/")[2]
    found = re.sub(r"^Error opening .*?: (?=[A-Z])", "", str(error)).rstrip(". ")
    return f"the decoder reports {found!r}: fetch it again, or {conversion(name)}"


def _inspected(source: SoundSource) -> SoundInfo:
    if isinstance(source, SoundBytes):
        return _sound_info(source, len(source.data))
    if not source.is_file():
        raise BadClip(Fault.MISSING, f"no file {source}")
    status = source.stat()
    return _remembered(source, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_parts(source: SoundSource, parts: tuple[Part, ...]) -> tuple[np.ndarray, int]:
    """All samples (frames, channels) float32 of a file whose header is wrong, and their rate in Hz.

    Raises:
        BadClip: if parts differ in rate or channels.
        soundfile.SoundFileError: if one cannot be decoded.
    """
    with bytes_of(source) as data:
        sounds = [_read_part(part, data) for part in parts]
    if len({(rate, samples.shape[1]) for rate, samples in sounds}) > 1:
        found = ", ".join(f"{rate} Hz with {samples.shape[1]} channels" for rate, samples in sounds)
        raise BadClip(Fault.UNREADABLE, f"sounds of {found} follow each other in it: split it")
    return np.concatenate([samples for _, samples in sounds]), sounds[0][0]


def _read_part(part: Part, data: Bytes) -> tuple[int, np.ndarray]:
    with _Forward(part.open(data)) as sound:
        blocks = [np.empty((0, sound.channels), np.float32)]
        while len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):
            blocks.append(block)
        return sound.samplerate, np.concatenate(blocks)


class _Forward(soundfile.SoundFile):
    """A file that is only read on: the decoder cannot find a place in one whose length it does not know."""

    def seekable(self) -> bool:
        return False


@lru_cache(maxsize=1 << 16)
def _remembered(path: Path, size: int, written: int, changed: int) -> SoundInfo:
    """See :func:`inspect`; the two times are here to be remembered."""
    return _sound_info(path, size)


def _sound_info(source: SoundSource, size: int) -> SoundInfo:
    if not size:
        raise BadClip(Fault.UNREADABLE, "the file is empty (0 bytes): fetch it again")
    with bytes_of(source) as data:
        start = after_id3(data, 0)
        if foreign := foreign_kind(data[start : start + 256], str(source).rpartition("/")[2]):
            raise BadClip(Fault.UNREADABLE, foreign)
        layout = _layout(source, data)
    if layout.broken:
        raise BadClip(Fault.UNREADABLE, layout.broken)
    if layout.parts:
        samples, rate = read_parts(source, layout.parts)
        return SoundInfo(rate, len(samples), samples.shape[1], layout.parts, layout.truncated)
    info = soundfile.info(for_decoder(source))
    frames = info.frames if layout.frames is None else layout.frames
    return SoundInfo(info.samplerate, frames, info.channels, (), layout.truncated)


def _layout(source: SoundSource, data: Bytes) -> Layout:
    start = after_id3(data, 0)
    if data[:4] in (b"RIFF", b"RF64", b"RIFX") and data[8:12] == b"WAVE":
        layout = wav_layout(data)
        return layout if layout != Layout() or _can_seek(source) else Layout((Part(0, len(data)),))
    if data[start : start + 4] == b"fLaC":
        return flac_layout(data)
    whole = (Part(0, len(data)),)
    if data[:4] == b"OggS":
        layout = ogg_layout(data)
        if layout.parts or layout.broken or _ends_where_it_says(source):
            return layout
        return Layout(whole, truncated=layout.truncated)
    if (layout_of_chunks := chunk_layout(data)) is not None:
        return layout_of_chunks
    try:
        info = soundfile.info(for_decoder(source))
    except soundfile.SoundFileError:
        # An MP3 whose first frame states fewer samples than an encoder's delay is opened only without that number.
        if (layout := mp3_layout(data, 0)).parts:
            return layout
        raise
    if info.format in ("MP3", "MPEG"):
        return mp3_layout(data, info.frames)
    if info.format not in CHECKED:
        name = str(source).rpartition("/")[2]
        return Layout(broken=f"it is a file of the kind {info.format}, whose length is not known: {conversion(name)}")
    return Layout() if _ends_where_it_says(source) else Layout(whole)


def _can_seek(source: SoundSource) -> bool:
    """Whether the decoder finds a place in a file; not if it is compressed for telephones, such as by GSM 06.10."""
    with soundfile.SoundFile(for_decoder(source)) as sound:
        return sound.seekable()


def _ends_where_it_says(source: SoundSource) -> bool:
    """Whether the last sample that the header promises is there, and can be found."""
    with soundfile.SoundFile(for_decoder(source)) as sound:
        if not 0 < sound.frames < KNOWN:
            return sound.frames == 0
        try:
            sound.seek(sound.frames - 1)
            return len(sound.read(1)) == 1
        except soundfile.SoundFileError:
            return False
