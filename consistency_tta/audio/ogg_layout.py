"""OGG: pages. A file that was joined of files is a chain of streams, of which the decoder reads the first.

Source: S. Pfeiffer, "The Ogg Encapsulation Format Version 0", RFC 3533, 2003, https://www.rfc-editor.org/rfc/rfc3533
"""

from __future__ import annotations

import zlib

from consistency_tta.audio.layout import JUNK, Bytes, Layout, Part, end_of_sound

_PAGE = b"OggS"
#: How streams of sound begin.
_SOUNDS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
_BEGIN, _END = 2, 4  # a page's flags
#: Each byte with its bits in reverse: the pages' checksum is zlib's with the greatest bit first.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
#: Samples of a page at most: 255 packets of Vorbis' largest, 8192; FLAC in OGG may have 65,535 in each.
_LONGEST_PAGE = 255 * 65_536


def ogg_layout(data: Bytes) -> Layout:
    """How to read a file that begins with OggS."""
    links, place, end, heads, at_once = [0], 0, 0, True, 0
    positions: dict[bytes, int] = {}
    numbers: dict[bytes, int] = {}
    flags = 0
    while (place := data.find(_PAGE, place)) >= 0 and place + 27 <= len(data):
        # Streams that sound together begin together: a beginning behind other pages is the next link's.
        flags = data[place + 5]
        begins = bool(flags & _BEGIN)
        if begins and not heads:
            links.append(place)
            at_once = 0
        heads = begins
        segments = data[place + 27 : place + 27 + data[place + 26]]
        end = place + 27 + len(segments) + sum(segments)
        if end > len(data) or len(segments) < data[place + 26]:
            return Layout(truncated="it ends in the middle of a page")
        if not _is_whole(data[place:end]):
            # The decoder would leave it out without a word.
            return Layout(broken=f"the page at byte {place:,} is damaged: its checksum differs")
        packet = place + 27 + len(segments)
        at_once += begins and data[packet : packet + 8].startswith(_SOUNDS)
        if at_once > 1:
            return Layout(
                broken="several streams of sound in it play at once: keep one, such as with "
                "`ffmpeg -i old.ogg -map 0:a:0 new.flac`"
            )
        if fault := _position_fault(data, place, positions):
            return Layout(broken=fault)
        stream, number = data[place + 14 : place + 18], int.from_bytes(data[place + 18 : place + 22], "little")
        if not begins and number > numbers.get(stream, number) + 1:
            return Layout(broken=f"page {number:,} follows page {numbers[stream]:,}: what is between them is missing")
        numbers[stream] = number
        place = end
    behind = data[place if place >= 0 else end : end_of_sound(data)]
    if len(behind) > JUNK and behind.strip(b"\0"):
        return Layout(broken=f"{len(behind):,} bytes that are no OGG follow the sound: split it")
    if len(behind) > JUNK and not flags & _END:
        return Layout(truncated=f"its last {len(behind):,} bytes are zeros, and its stream has no end")
    if len(links) == 1:
        return Layout()
    ends = [*links[1:], len(data)]
    return Layout(parts=tuple(Part(start, end) for start, end in zip(links, ends, strict=True)))


def _is_whole(page: bytes) -> bool:
    """Whether a page has its checksum: a CRC-32 that begins with zeros, of the page with zeros for the checksum."""
    content = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    checksum = (zlib.crc32(content, 0xFFFFFFFF) ^ 0xFFFFFFFF).to_bytes(4)
    return checksum.translate(_REVERSED) == page[22:26]


def _position_fault(data: Bytes, place: int, positions: dict[bytes, int]) -> str:
    """What is wrong with a page's position in samples, by which the decoder cuts the end; empty if nothing is.

    Args:
        data: of the file.
        place: of the page.
        positions: the last of each stream, which is updated.
    """
    stream, flags = data[place + 14 : place + 18], data[place + 5]
    position = int.from_bytes(data[place + 6 : place + 14], "little", signed=True)
    if flags & _BEGIN:
        positions[stream] = 0
    before = positions.get(stream, 0)
    if position < 0 and not flags & _END:
        return ""  # a page in which no packet ends
    # A stream that was recorded from the middle begins anywhere.
    if position < before or (before and position > before + _LONGEST_PAGE):
        return f"a page ends at sample {position:,}, the one before at {before:,}: the file is damaged"
    positions[stream] = position
    return ""
