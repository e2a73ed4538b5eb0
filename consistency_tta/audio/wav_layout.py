"""WAV: chunks, of which "data" has the samples. The length of "data" is 0 or huge where its writer could not go back.

Source: EBU Tech 3306, "RF64: An extended file format for audio data", 2018, https://tech.ebu.ch/publications/tech3306
"""

from __future__ import annotations

import re
from typing import Literal

from consistency_tta.audio.layout import JUNK, Bytes, Layout, Part, after_id3, end_of_sound

#: From here on a length is one that programs write which do not know it; they keep below 2 or 4 GB.
UNKNOWN = 0x7FFF0000
#: Bytes behind the samples that may be anything: 4 ms at 16 kHz.
LITTLE = 128
ANOTHER_HEAD = re.compile(rb"(RIFF|RF64|RIFX)....WAVE", re.DOTALL)
ANOTHER = "another WAV file follows in it: split it, or join the sounds with sox or ffmpeg"
Order = Literal["little", "big"]


def wav_layout(data: Bytes) -> Layout:
    """How to read a file that begins with RIFF, RF64 or, with the greatest byte first, RIFX."""
    order: Order = "big" if data[:4] == b"RIFX" else "little"
    place, wide, wide_at, align = 12, None, 0, 1
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], order)
        if name == b"data":
            break
        if name == b"ds64":
            wide_at, wide = place + 16, int.from_bytes(data[place + 16 : place + 24], "little")
        if name == b"fmt ":
            align = max(1, int.from_bytes(data[place + 20 : place + 22], order))
            if fault := _format_fault(data[place + 8 : place + 8 + min(size, 26)], order):
                return Layout(broken=fault)
        place += 8 + size + size % 2
    else:
        return Layout()  # no samples: the decoder's own message is right
    start = place + 8
    held = len(data) - start
    if wide is not None and (size == 0xFFFFFFFF or data[:4] == b"RF64"):
        unknown, size = wide == 0 or wide >= 1 << 63, wide
    else:
        unknown = size == 0 or size >= UNKNOWN
    if unknown:
        # The decoder itself reads to the end where the length is huge, but takes 0 for no samples.
        if ANOTHER_HEAD.search(data, start):
            return Layout(broken=ANOTHER)
        if size >= UNKNOWN and wide is None:
            return Layout()
        if not _goes_on(data, start, order):
            return Layout()
        return _to_the_end(data, place, held // align * align, wide_at, order)
    if size > held:
        return Layout(truncated=f"{size - held:,} bytes less than its header states")
    behind = start + size + size % 2
    if data[behind : behind + 4] in (b"RIFF", b"RF64", b"RIFX") and data[behind + 8 : behind + 12] == b"WAVE":
        return Layout(broken=ANOTHER)
    if _goes_on(data, behind, order):
        return Layout(
            broken=f"{len(data) - behind:,} bytes follow the samples and are no chunk, so its header's length is "
            "wrong: write it anew, such as with `sox --ignore-length old.wav new.wav`"
        )
    return Layout()


def _format_fault(form: bytes, order: Order) -> str:
    """What is wrong with the format of samples that are not compressed; empty if nothing is.

    Args:
        form: the first 16 bytes of the chunk "fmt ", or 26 of the longer form for many channels.
        order: of the bytes of a number.
    """
    kind, channels, align, bits = (int.from_bytes(form[at : at + 2], order) for at in (0, 2, 12, 14))
    rate, bandwidth = (int.from_bytes(form[at : at + 4], order) for at in (4, 8))
    if kind == 0xFFFE:  # the longer form has the kind at its end
        kind = int.from_bytes(form[24:26], order)
    expected = channels * -(-bits // 8)
    if kind not in (1, 3) or not align or not expected:
        return ""
    if align != expected:
        return (
            f"its header states {channels} channels of {bits} bits, which are {expected} bytes, and {align} bytes for "
            "all channels: one of them is wrong, so write it anew"
        )
    # Some programs leave 0, or count bits that no byte is spent on.
    if bandwidth not in (0, rate * align, rate * channels * bits // 8):
        return (
            f"its header states {rate} Hz, and {bandwidth} bytes a second, which are {bandwidth / align:g} Hz: one of "
            "them is wrong, so write it anew"
        )
    return ""


def _to_the_end(data: Bytes, place: int, held: int, wide_at: int, order: Order) -> Layout:
    """The file with the lengths that its writer left out."""
    if wide_at:
        lengths = (len(data) - 8).to_bytes(8, "little") + held.to_bytes(8, "little")
        patches = ((wide_at - 8, lengths), (place + 4, b"\xff\xff\xff\xff"))
    else:
        patches = (
            (4, min(len(data) - 8, 0xFFFFFFFF).to_bytes(4, order)),
            (place + 4, min(held, 0xFFFFFFFF).to_bytes(4, order)),
        )
    return Layout(parts=(Part(0, place + 8 + held, patches),))


def _goes_on(data: Bytes, place: int, order: Order) -> bool:
    """Whether what is from ``place`` on is neither chunks, nor tags, nor a little junk, nor zeros alone.

    Junk that may be a damaged chunk, by the letters that it begins with, may be longer.
    """
    end = end_of_sound(data)
    while place + 8 <= end:
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], order)
        if not all(32 <= byte < 127 for byte in name) or place + 8 + size > end + 1:
            break
        place += 8 + size + size % 2
    place = after_id3(data, place)
    like_chunk = re.search(rb"[A-Za-z_ ]{4}", data[place - 1 : place + 5])
    return end - place > (JUNK if like_chunk else LITTLE) and bool(data[place:end].strip(b"\0"))
