"""AIFF, CAF, W64, AU and NIST SPHERE: the header states the samples' length, which may be more or less than there is.

Sources: Apple, "Audio Interchange File Format: AIFF", 1989; Apple, "Core Audio Format Specification 1.0", 2011,
https://developer.apple.com/library/archive/documentation/MusicAudio/Reference/CAFSpec; the headers of W64, AU and NIST
are those that libsndfile writes.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from consistency_tta.audio.layout import JUNK, Bytes, Layout, Part, end_of_sound

#: From here on a length is one that programs write which do not know it; sox writes this one.
UNKNOWN = 0x7F000000
#: Bytes of whose multiples W64's chunks begin.
W64_ALIGN = 8
#: How files of these kinds, and WAV files, begin.
_FILES = (b"FORM", b"caff", b"riff", b".snd", b"NIST", b"RIFF", b"RF64", b"RIFX")


class Samples(NamedTuple):
    """Where the samples begin, their length in bytes as it is stated, and whether chunks may follow."""

    start: int
    length: int
    chunks_follow: bool


def chunk_layout(data: Bytes) -> Layout | None:
    """What is wrong with the length of such a file; None if nothing is, or it is of another kind."""
    samples = _samples(data)
    if samples is None or samples.length <= 0 or samples.length >= UNKNOWN:
        return None  # unknown: the decoder reads to the end
    held = len(data) - samples.start
    if samples.length > held:
        return Layout(truncated=f"{samples.length - held:,} bytes less than its header states")
    end = samples.start + samples.length
    behind = data[end : end_of_sound(data)]
    if behind.lstrip(b"\0")[:4] in _FILES:
        return Layout(broken="another file follows in it: split it, or join the sounds with sox or ffmpeg")
    is_chunk = samples.chunks_follow and all(32 <= byte < 127 for byte in behind[:5].strip(b"\0")[:4])
    if len(behind) > JUNK and not is_chunk and behind.strip(b"\0"):
        return Layout(
            broken=f"{len(behind):,} bytes follow the samples and are no chunk, so its header's length is wrong, or "
            "another file follows in it: write it anew, or split it"
        )
    # Of W64 the decoder takes all that follows for samples.
    return Layout(parts=(Part(0, end),)) if data[:4] == b"riff" and len(behind) >= W64_ALIGN else None


def _samples(data: Bytes) -> Samples | None:
    head = data[:12]
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _find(data, 12, b"SSND", name=4, size=4, align=2, order="big")
    if head[:4] == b"caff":
        return _find(data, 8, b"data", name=4, size=8, align=1, order="big")
    if head[:4] == b"riff":
        return _find(data, 40, b"data", name=16, size=8, align=W64_ALIGN, order="little", header_counts=True)
    if head[:4] == b".snd":
        return Samples(int.from_bytes(head[4:8]), int.from_bytes(head[8:12]), False)
    if head[:7] == b"NIST_1A":
        return _nist(data)
    return None


def _nist(data: Bytes) -> Samples | None:
    """NIST SPHERE, as of TIMIT's files: lines of names, types and values; the first is the header's length in bytes."""
    header = data[8:1024].decode("latin-1")
    values = {name: int(value) for name, value in re.findall(r"^(\w+) -i (\d+)", header, re.MULTILINE)}
    size = re.match(r"\s*(\d+)", header)
    if not size or not {"sample_count", "sample_n_bytes"} <= values.keys():
        return None
    length = values["sample_count"] * values["sample_n_bytes"] * values.get("channel_count", 1)
    return Samples(int(size[1]), length, False)


def _find(
    data: Bytes,
    place: int,
    wanted: bytes,
    name: int,
    size: int,
    align: int,
    order: Literal["little", "big"],
    header_counts: bool = False,
) -> Samples | None:
    """The chunk whose name begins with ``wanted``; names and sizes have so many bytes."""
    while place + name + size <= len(data):
        length = int.from_bytes(data[place + name : place + name + size], order)
        start = place + name + size
        length -= (name + size) * header_counts
        if data[place : place + 4] == wanted:
            return Samples(start, length, True)
        if length < 0:
            return None
        place = start + -(-length // align) * align
    return None
