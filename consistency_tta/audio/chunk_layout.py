"""AIFF, CAF, W64 and AU: the chunk with the samples states its length, which may be more or less than there is.

Sources: Apple, "Audio Interchange File Format: AIFF", 1989; Apple, "Core Audio Format Specification 1.0", 2011,
https://developer.apple.com/library/archive/documentation/MusicAudio/Reference/CAFSpec; the headers of W64 and AU are
those that libsndfile writes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from consistency_tta.audio.layout import JUNK, Bytes, Layout, end_of_sound

#: From here on a length is one that programs write which do not know it; sox writes this one.
UNKNOWN = 0x7F000000


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
    behind = data[samples.start + samples.length : end_of_sound(data)]
    is_chunk = samples.chunks_follow and all(32 <= byte < 127 for byte in behind[:5].strip(b"\0")[:4])
    if len(behind) > JUNK and not is_chunk and behind.strip(b"\0"):
        return Layout(
            broken=f"{len(behind):,} bytes follow the samples and are no chunk, so its header's length is wrong, or "
            "another file follows in it: write it anew, or split it"
        )
    return None


def _samples(data: Bytes) -> Samples | None:
    head = data[:12]
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _find(data, 12, b"SSND", name=4, size=4, align=2, order="big")
    if head[:4] == b"caff":
        return _find(data, 8, b"data", name=4, size=8, align=1, order="big")
    if head[:4] == b"riff":
        return _find(data, 40, b"data", name=16, size=8, align=8, order="little", header_counts=True)
    if head[:4] == b".snd":
        return Samples(int.from_bytes(head[4:8]), int.from_bytes(head[8:12]), False)
    return None


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
