"""The names of files that hold a part of a recording, such as AudioCaps' ten seconds of a video.

Downloaders differ: ``<id>.wav``, ``Y<id>.wav``, ``<id>_30.wav``, ``Y<id>_30_40.wav``, ``<id>_30.000_40.000.wav``, in
milliseconds ``<id>_30000_40000.wav``, zero-padded ``<id>_000030.wav``.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

#: Length of AudioCaps' parts in seconds, where a row has no end.
SECONDS = 10.0
#: No time in a recording is so large: thirty years.
LONGEST = 1e9


class Part(NamedTuple):
    """A part of a recording.

    Attributes:
        recording: the video's id, or the file's path, without extension.
        start, end: as they are written; empty if not given.
    """

    recording: str
    start: str
    end: str = ""

    @property
    def name(self) -> str:
        """Of the part: the recording, the start, and the end if it has one."""
        times = [time for time in (plain(self.start), plain(self.end)) if time]
        return "_".join([self.recording, *times])

    def forms(self) -> list[str]:
        """All names of the part, the likeliest first, with no name of the whole recording."""
        starts = _forms(self.start)
        begin = seconds(self.start)
        end = self.end or ("" if begin is None else plain(str(begin + SECONDS)))
        ends = _forms(end)
        both = [f"{start}{mark}{stop}" for start, stop in zip(starts, ends, strict=False) for mark in "_-"]
        # A row with an end names its part; without one a start is enough.
        times = [*both, *starts] if self.end else [*starts, *both]
        return [f"{letter}{self.recording}_{time}" for time in dict.fromkeys(times) for letter in ("", "Y")]


class SharedNames:
    """Names that two parts of a list could have: none of them identifies a part.

    Args:
        parts: of the list.
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        self.parts: defaultdict[str, dict[str, Part]] = defaultdict(dict)
        for part in parts:
            self.parts[part.recording].setdefault(part.name, part)
        self.shared = {name for parts in self.parts.values() if len(parts) > 1 for name in _common(parts.values())}
        for recording in self.parts:
            for base in _bases(recording):  # "v_30" is a part of "v", or another recording's name
                self.shared |= self._forms(base) & {recording, f"Y{recording}"}
            if f"Y{recording}" in self.parts:  # the "Y" that downloaders put in front, or a letter of another id
                self.shared |= {f"Y{recording}"} | self._forms(recording) & self._forms(f"Y{recording}")

    def _forms(self, recording: str) -> set[str]:
        return {form for part in self.parts.get(recording, {}).values() for form in part.forms()}

    def names(self, part: Part) -> list[str]:
        """The names that a part's file may have, the likeliest first; the recording's own if this is its only part."""
        names = part.forms()
        if len(self.parts[part.recording]) == 1:
            names += [part.recording, f"Y{part.recording}"]
        own = {part.recording}
        return [name for name in names if name not in self.shared and not (name in self.parts and name not in own)]


def seconds(time: str) -> float | None:
    """A time in seconds; None if it is not a number, or one that no recording reaches."""
    try:
        value = float(time)
    except ValueError:
        return None
    if "_" in time:  # Python reads 30_40 as 3040
        return None
    return value if math.isfinite(value) and abs(value) < LONGEST else None


def plain(time: str) -> str:
    """A number without zeros behind its point, ``30`` for ``30.0``; what is no number as it is."""
    value = seconds(time)
    if value is None:
        return time.strip()
    return str(int(value)) if value.is_integer() else repr(value)


def _forms(time: str) -> list[str]:
    """How a time is written in files' names, each way at its own place."""
    value = seconds(time)
    if value is None:
        return [time] if time else []
    whole = round(value)
    clock = f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}"
    milliseconds = round(1000 * value)
    return [
        plain(time), time.strip(), f"{value:.1f}", f"{value:.2f}", f"{value:.3f}", f"{milliseconds}",
        f"{whole:02d}", f"{whole:03d}", f"{whole:04d}", f"{whole:06d}", f"{milliseconds:06d}", clock,
    ] if value.is_integer() else [
        plain(time), time.strip(), f"{value:.1f}", f"{value:.2f}", f"{value:.3f}", f"{milliseconds}",
        f"{milliseconds:06d}",
    ]  # fmt: skip


def _common(parts: Iterable[Part]) -> set[str]:
    uses = Counter(form for part in parts for form in set(part.forms()))
    return {form for form, count in uses.items() if count > 1}


def _bases(recording: str) -> list[str]:
    """What is before the last one and two numbers of a name, with and without a "Y" in front."""
    words = recording.split("_")
    bases = ["_".join(words[:-count]) for count in (1, 2) if len(words) > count]
    return bases + [base[1:] for base in bases if base.startswith("Y")]
