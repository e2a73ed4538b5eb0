"""MP3: frames, without a header of the whole. The first may have their number, behind "Xing", "Info" or "VBRI"; without
it the decoder guesses the length by the first frame's bit rate, and reads no sample more.

Source: ISO/IEC 11172-3:1993, 2.4; the first frame's mark is Xing's and LAME's,
http://gabriel.mp3-tech.org/mp3infotag.html
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consistency_tta.audio.layout import JUNK, Bytes, Layout, Part, after_id3, end_of_sound

#: Samples by which counts may differ, two frames: programs differ in how they count the first.
MP3_SLACK = 2304
#: Bit rates in kbit/s by (MPEG 1, layer) and index.
_RATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES[False, 3] = _RATES[False, 2]


@dataclass(frozen=True)
class Header:
    """A frame's header: its samples, its rate in Hz, its length in bytes, and where its mark may be."""

    samples: int
    rate: int
    mono: bool
    length: int
    mark: int


@dataclass
class Link:
    """Frames that belong together.

    Attributes:
        start: of the first byte.
        mark: where "Xing", "Info" or "VBRI" is; 0 without.
        stated: samples by the mark; None if it has no number.
        samples: that there are, without those of the mark's frame.
        formats: (rate in Hz, mono) of the frames.
    """

    start: int
    mark: int = 0
    stated: int | None = None
    samples: int = 0
    formats: set[tuple[int, bool]] = field(default_factory=set)


def mp3_layout(data: Bytes, guess: int) -> Layout:
    """How to read an MP3 file.

    Args:
        data: of the file.
        guess: samples in it, by the decoder.
    """
    links, behind = _links(data)
    if links and len(behind) > JUNK and behind.strip(b"\0"):
        return Layout(broken=f"{len(behind):,} bytes that are no MP3 follow the sound: split it")
    if not links:
        return Layout()  # frames of free length, or none that are known: what the decoder makes of it
    if len(formats := set.union(*(link.formats for link in links))) > 1:
        found = " and ".join(f"{rate} Hz {'mono' if mono else 'stereo'}" for rate, mono in sorted(formats))
        return Layout(broken=f"sounds of {found} follow each other in it: split it")
    rate = next(iter(formats))[0]
    last = links[-1]
    if last.stated is not None and last.samples < last.stated - MP3_SLACK:
        return Layout(
            frames=min(guess, last.samples) if len(links) == 1 else None,
            truncated=f"{last.samples / rate:.2f} s, its header states {last.stated / rate:.2f} s",
        )
    if len(links) == 1:
        expected = guess if last.stated is None else last.stated
        if abs(expected - last.samples) <= MP3_SLACK:
            return Layout()
        if expected > last.samples:
            return Layout(frames=last.samples)
    ends = [*(link.start for link in links[1:]), len(data)]
    return Layout(parts=tuple(_part(link, end) for link, end in zip(links, ends, strict=True)))


def _part(link: Link, end: int) -> Part:
    if link.stated is not None and abs(link.stated - link.samples) <= MP3_SLACK:
        return Part(link.start, end)
    return Part(link.start, end, ((link.mark, bytes(4)),) if link.mark else (), endless=True)


def _links(data: Bytes) -> tuple[list[Link], bytes]:
    """All frames of a file, and the bytes behind the last one."""
    end = end_of_sound(data)
    links: list[Link] = []
    place = after_id3(data, 0)
    while (at := _next_frame(data, place, end)) is not None:
        header = _header(data, at)
        assert header is not None
        if header.length == 0:
            return [], b""
        mark, frames = _mark(data, at, header)
        if mark or not links:
            # A decoder that is given a part does not pass over tags of the file before it.
            links.append(Link(at if links else 0, mark, frames and frames * header.samples))
        if at + header.length <= end:
            links[-1].samples += 0 if mark else header.samples
            links[-1].formats.add((header.rate, header.mono))
        place = after_id3(data, at + header.length)
    return [link for link in links if link.samples], data[place:end]


def _next_frame(data: Bytes, place: int, end: int) -> int | None:
    """Where the next frame begins: here, or, behind something else, at the first of two frames in a row."""
    if _header(data, place) is not None:
        return place if place < end else None
    while (place := data.find(b"\xff", place, end)) >= 0:
        header = _header(data, place)
        if header is not None and header.length and _header(data, place + header.length) is not None:
            return place
        place += 1
    return None


def _mark(data: Bytes, place: int, header: Header) -> tuple[int, int | None]:
    """Where a frame's mark is, 0 without; and the number of frames that follow, if it has it."""
    for at in (header.mark, header.mark + 2):  # a checksum may come before
        if data[place + at : place + at + 4] in (b"Xing", b"Info"):
            at += place
            return at, int.from_bytes(data[at + 8 : at + 12]) if data[at + 7] & 1 else None
    if data[place + 36 : place + 40] == b"VBRI":
        return place + 36, int.from_bytes(data[place + 50 : place + 54])
    return 0, None


def _header(data: Bytes, place: int) -> Header | None:
    """The frame's header at a place; None if it has none. Its length is 0 if the header does not state it."""
    head = data[place : place + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, step = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or index == 15 or step == 3:
        return None
    first = version == 3
    rate = (44100, 48000, 32000)[step] // (1 if first else 2 if version == 2 else 4)
    samples = 384 if layer == 1 else 1152 if layer == 2 or first else 576
    unit = 4 if layer == 1 else 1
    bits = _RATES[first, layer][index] * 1000
    length = (samples // (8 * unit) * bits // rate + (head[2] >> 1 & 1)) * unit if bits else 0
    mono = head[3] >> 6 == 3
    mark = 4 + ((17 if mono else 32) if first else (9 if mono else 17))
    return Header(samples, rate, mono, length, mark)
