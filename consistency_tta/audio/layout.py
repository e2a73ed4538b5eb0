"""How the bytes of a sound file must be read where its header's length is wrong."""

from __future__ import annotations

import io
import mmap
from dataclasses import dataclass

#: The bytes of a file.
Bytes = bytes | mmap.mmap
#: A file may end in this many bytes that are no sound and no known tag.
JUNK = 4096


@dataclass(frozen=True)
class Part:
    """A range of bytes of a file that the decoder is given as if it were a file.

    Attributes:
        start, stop: the range.
        patches: bytes to put at places of the file, such as a length that a header lacks.
        endless: report a greater size than the file's: a decoder that guesses a length by the size then reads all.
    """

    start: int
    stop: int
    patches: tuple[tuple[int, bytes], ...] = ()
    endless: bool = False

    def open(self, data: Bytes) -> io.BytesIO:
        """The part of a file's bytes, as a file."""
        content = bytearray(data[self.start : self.stop])
        for place, patch in self.patches:
            content[place - self.start : place - self.start + len(patch)] = patch
        return _Endless(content) if self.endless else io.BytesIO(content)


@dataclass(frozen=True)
class Layout:
    """What a file's bytes show of its length.

    Attributes:
        parts: to be decoded one after another, each to its end; none for a file that the decoder reads right.
        frames: samples of a file whose header states more than it has; None if the header is right.
        truncated: how the file is cut short, as a sentence; empty if it is not.
        broken: why the file cannot be used, as a sentence; empty if it can.
    """

    parts: tuple[Part, ...] = ()
    frames: int | None = None
    truncated: str = ""
    broken: str = ""


class _Endless(io.BytesIO):
    """Bytes whose end seems to be far behind their last."""

    beyond = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.beyond = 1 << 34 if whence == io.SEEK_END else 0
        super().seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return super().tell() + self.beyond


def end_of_sound(data: Bytes, end: int | None = None) -> int:
    """Where the tags begin that may follow a file's sound (ID3v1, APE), or its end.

    Args:
        data: of the file.
        end: of the sound and its tags, where another sound follows; of the file if None.
    """
    end = len(data) if end is None else end
    if data[end - 128 : end - 125] == b"TAG":
        end -= 128
    if data[end - 32 : end - 24] == b"APETAGEX":  # its header, if the flag says so, is not in its size
        size = int.from_bytes(data[end - 20 : end - 16], "little")
        end -= size + 32 * bool(data[end - 9] & 0x80)
    return max(0, end)


def before_id3(data: Bytes, end: int, floor: int) -> int:
    """Where the ID3v2 tag begins that ends at ``end``, not before ``floor``; ``end`` if there is none."""
    place = end
    while (place := data.rfind(b"ID3", floor, place)) >= 0:
        if after_id3(data, place) == end:
            return place
    return end


def after_id3(data: Bytes, start: int) -> int:
    """The first byte behind ID3v2 tags (titles and pictures) at ``start``; their size is four times 7 bits."""
    while data[start : start + 3] == b"ID3" and start + 10 <= len(data):
        start += 10 + sum(byte << 7 * place for place, byte in enumerate(data[start + 6 : start + 10][::-1]))
    return start
