"""Matches the rows of a caption file with the clips of a protocol, and clips with files."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from consistency_tta.datamodules.clips import AmbiguousName, AudioFolder, Clip
from consistency_tta.evaluation.protocol import Protocol
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.captions import Row, endings, read_rows


class NoClip(LookupError):  # noqa: N818 - a finding, listed with the clip
    """A row of a caption file that names no clip of the protocol, or one that another row has named.

    Args:
        reason: the kind of fault, in a few words.
        detail: of the fault, as a sentence.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ClipNames:
    """A protocol's clips by what a caption file may call them.

    Two names are of one clip if they are equal, or one is the end of the other's path, and of no other clip's.

    Args:
        protocol: whose clips.
        clip_list: the caption file that names them.

    Raises:
        ConfigurationError: the list has another number of clips than the protocol states.
    """

    def __init__(self, protocol: Protocol, clip_list: Path) -> None:
        rows = first_rows(clip_list)
        if len(rows) != protocol.clips.number:
            raise ConfigurationError(
                f"{protocol.source}: expected {protocol.clips.number} clips in its list, got {len(rows)}"
            )
        self.protocol = protocol.name
        self.whole = {name: row for row in rows for name in row.names}
        self.ends: defaultdict[str, list[Row]] = defaultdict(list)
        for name, row in self.whole.items():
            for ending in endings(name)[1:]:
                self.ends[ending].append(row)
        self.claimed: set[str] = set()

    def find(self, row: Row) -> Row | None:
        """The protocol's clip that a row means."""
        for name in row.names:
            for ending in endings(name):
                if ending in self.whole:
                    return self.whole[ending]
        several = [meant for name in row.names for meant in self.ends.get(name, [])]
        return several[0] if len(several) == 1 else None

    def claim(self, row: Row) -> Row:
        """The same, once.

        Raises:
            NoClip: there is none, or another row has claimed it.
        """
        meant = self.find(row)
        if meant is None:
            raise NoClip("not in the protocol", f"the protocol {self.protocol} has no such clip")
        if meant.name in self.claimed:
            raise NoClip("duplicate", f"{row.name} is another name of {meant.name}: keep the one that is meant")
        self.claimed.add(meant.name)
        return meant


def locate(clip: Clip, folder: AudioFolder, row: Row, meant: Row) -> None:
    """Find a clip's file by the names that the protocol has for it, of which no two clips have one.

    Or by the number of the caption, if the caption file has one.

    Args:
        clip: gets the file, or the files that could be its.
        folder: where it may be.
        row: of the caption file.
        meant: of the protocol's list.
    """
    is_path = meant.candidates[0].startswith("/")
    names = meant.candidates if is_path else meant.names
    number = "" if row.candidates[0].startswith("/") else row.candidates[-1]
    try:
        found = folder.find(*names, *([number] if number else []))
        clip.path, clip.ambiguous = found or folder.folder / meant.name, ""
        clip.missing = "" if found else clip.missing
    except AmbiguousName as error:
        clip.ambiguous = str(error)


def first_rows(captions: Path) -> list[Row]:
    """The first row of each clip, in the order in which clips are read."""
    rows: dict[str, Row] = {}
    for row in read_rows(captions):
        rows.setdefault(row.name, row)
    return list(rows.values())
