"""FLAC: each frame stores its position. The header's number of samples is 0 if its writer could not go back, and the
whole recording's in each piece of one that was cut without decoding.

Source: M. van Beurden and A. Weaver, "Free Lossless Audio Codec (FLAC)", RFC 9639, 2024,
https://www.rfc-editor.org/rfc/rfc9639
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from consistency_tta.audio.layout import JUNK, Bytes, Layout, Part, after_id3, before_id3, end_of_sound

#: Where a frame may begin, if the header does not state the greatest length of a frame.
LONGEST_FRAME = 1 << 20
#: Samples of a block, by the code in a frame's header.
BLOCKS = {1: 192, **{k: 576 << (k - 2) for k in range(2, 6)}, **{k: 256 << (k - 8) for k in range(8, 16)}}
#: Sample rates in Hz, by the code in a frame's header.
RATES = dict(enumerate((88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000), start=1))
_START = b"fLaC"


class Frame(NamedTuple):
    """Where a frame's samples are: the first, and how many; and their rate in Hz, 0 where the frame does not say it."""

    first: int
    samples: int
    rate: int = 0


def flac_layout(data: Bytes) -> Layout:
    """How to read a file that begins with fLaC, perhaps behind titles."""
    starts = _starts(data)
    # The files that were joined may have tags at both ends.
    following = [end_of_sound(data, before_id3(data, start, previous)) for previous, start in pairwise(starts)]
    ends = [*following, end_of_sound(data)]
    pieces = [_piece(data, start, end) for start, end in zip(starts, ends, strict=True)]
    parts: list[Part] = []
    for piece, start, end in zip(pieces, starts, ends, strict=True):
        if isinstance(piece, Layout):
            return piece
        parts.append(piece or Part(start, end))
    return Layout() if pieces == [None] else Layout(tuple(parts))


def _starts(data: Bytes) -> list[int]:
    """Where streams begin: several in a file that was joined of files."""
    starts = [after_id3(data, 0)]
    # The marker, and the header's type and length: by chance once in 10^19 bytes.
    while (following := data.find(_START + b"\0\0\0\x22", starts[-1] + 4)) > 0:
        starts.append(following)
    return starts


def _piece(data: Bytes, start: int, end: int) -> Part | Layout | None:
    """None if the header is right, what is wrong with the piece, or the part, where the header states no length."""
    place = start + 4
    total_at = place + 4 + 13  # 36 bits, of which the first four share a byte
    total = int.from_bytes(data[total_at : total_at + 5]) & 0xFFFFFFFFF
    smallest = int.from_bytes(data[place + 4 : place + 6])
    longest = int.from_bytes(data[place + 11 : place + 14]) or LONGEST_FRAME
    last = False
    while not last and place + 4 <= end:
        last = bool(data[place] & 0x80)
        place += 4 + int.from_bytes(data[place + 1 : place + 4])
    first = _frame(data, place, smallest)
    # A frame that a cut left incomplete may be as long as the longest, and so may the whole one before it.
    at = _last_frame(data, max(place, end - 2 * longest - 16), end, smallest)
    if first is None:
        return None  # the decoder reports what is wrong
    stated = int.from_bytes(data[start + 18 : start + 21]) >> 4
    if first.rate not in (0, stated):
        return Layout(broken=f"its header states {stated} Hz, and its frames {first.rate} Hz: one of them is wrong")
    frame = None if at is None else _frame(data, at, smallest)
    # Behind the number of samples that the header states the decoder reads nothing, whatever there is.
    last_frame = longest if frame is None else min(longest, frame.samples * _sample_bits(data, start) // 8 + 64)
    if total and (held := end - (place if at is None else at)) > last_frame + JUNK:
        behind = data[max(end - held + last_frame, end - longest - JUNK) : end]
        return Layout(broken="bytes that are no FLAC follow the sound: split it") if behind.strip(b"\0") else None
    if at is None or frame is None:
        return None
    if total == frame.first + frame.samples - first.first:
        return None
    if _crc16(data[at : end - 2]) != int.from_bytes(data[end - 2 : end]):
        return Layout(truncated=f"its last frame is not complete, and its header states {total:,} samples")
    return Part(start, end, ((total_at, bytes([data[total_at] & 0xF0]) + bytes(4)),))


def _sample_bits(data: Bytes, start: int) -> int:
    """Bits that a sample of all channels takes at most: the difference of two channels has one more than they."""
    fields = int.from_bytes(data[start + 18 : start + 22])
    channels, bits = (fields >> 9 & 7) + 1, (fields >> 4 & 31) + 1
    return channels * (bits + 1)


def _last_frame(data: Bytes, start: int, end: int, fixed: int) -> int | None:
    """Where the last frame begins."""
    place = end
    while (place := data.rfind(b"\xff", start, place)) >= 0:
        if _frame(data, place, fixed) is not None:
            return place
    return None


def _frame(data: Bytes, place: int, fixed: int) -> Frame | None:
    """The frame whose header is at a place; None if there is none.

    Args:
        data: of the file.
        place: in it.
        fixed: samples of all blocks but the last, where frames are numbered and not their samples.
    """
    head = data[place : place + 16]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8:
        return None
    code, rate = head[2] >> 4, head[2] & 15
    extra = 0 if head[4] < 0x80 else 8 - (head[4] ^ 0xFF).bit_length() - 1
    number = head[4] if not extra else head[4] & (0x3F >> extra)
    for byte in head[5 : 5 + extra]:
        number = number << 6 | byte & 0x3F
    at = 5 + extra
    long_block, long_rate = {6: 1, 7: 2}.get(code, 0), {12: 1, 13: 2, 14: 2}.get(rate, 0)
    samples = int.from_bytes(head[at : at + long_block]) + 1 if long_block else BLOCKS.get(code, 0)
    at += long_block + long_rate
    if not samples or at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    return Frame(number if head[1] & 1 else number * fixed, samples, RATES.get(rate, 0))


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc
