"""Where a sound file's bytes are: in a file of their own, or in memory, as read from a table or an archive."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from consistency_tta.audio.layout import Bytes


@dataclass(frozen=True, eq=False)
class SoundBytes:
    """A sound file in memory.

    Attributes:
        name: for messages.
        data: the file's bytes.
    """

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name


#: A sound file on disk or in memory.
SoundSource = Path | SoundBytes


@contextmanager
def bytes_of(source: SoundSource) -> Iterator[Bytes]:
    """All bytes of a sound file; those of a file on disk are mapped into memory and not read."""
    if isinstance(source, SoundBytes):
        yield source.data
    else:
        with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def for_decoder(source: SoundSource) -> str | io.BytesIO:
    """What libsndfile opens: a path, or a file object."""
    return _NamedBytes(source) if isinstance(source, SoundBytes) else str(source)


class _NamedBytes(io.BytesIO):
    """Bytes as a file; soundfile's errors name a file object by its ``repr``."""

    def __init__(self, source: SoundBytes) -> None:
        super().__init__(source.data)
        self.source_name = source.name

    def __repr__(self) -> str:
        return repr(self.source_name)


def num_bytes(source: SoundSource) -> int:
    """The size of a sound file."""
    return len(source.data) if isinstance(source, SoundBytes) else source.stat().st_size
