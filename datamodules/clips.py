"""Which clips there are: caption files (:mod:`consistency_tta.storage.captions`) matched with audio in a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from consistency_tta.audio.sound_file import BadClip, audio_info
from consistency_tta.audio.sound_source import SoundSource
from consistency_tta.datamodules.audio_folder import AmbiguousName, AudioFolder
from consistency_tta.storage.captions import EXTENSIONS, Row, read_rows

__all__ = ["EXTENSIONS", "AmbiguousName", "AudioFolder", "Clip", "new_id", "read_captions"]

#: Seconds by which the times of a row may differ from those of the whole file.
WHOLE = 0.1
#: Times of this many lengths of a file, and so many seconds more, are no seconds. Smaller ones may be, of a
#: file that a download cut.
BEYOND, SLACK = 2, 10
#: Names that a message lists of those that a clip could have.
NAMED = 3


@dataclass
class Clip:
    """A recording and what it is said to contain.

    Attributes:
        id: its name, unique in a caption file, and fit for a file's name.
        path: of the audio file; one that does not exist if the folder has none for it.
        captions: at least one.
        ambiguous: the files that it could be, where the caption file does not decide which; empty for all other clips.
        missing: what was looked for, and what is near it, where there is no file; empty for all other clips.
        others: more files that bear a name of the clip; the one at ``path`` has the likeliest name.
        length: in seconds, as the caption file states it; None if it does not.
    """

    id: str
    path: Path
    captions: list[str] = field(default_factory=list)
    ambiguous: str = ""
    missing: str = ""
    others: list[Path] = field(default_factory=list)
    length: float | None = None

    #: Whether its sound is a file of its own, whose header can be read alone.
    own_file: ClassVar[bool] = True

    def sound(self) -> SoundSource:
        """The sound file, to be decoded."""
        return self.path


def read_captions(captions: str | Path, audio_folder: str | Path | AudioFolder) -> list[Clip]:
    """Read a caption file and find each clip's audio.

    Rows that name the same clip become several captions of one clip. Audio is looked up as
    ``<youtube_id>_<start_time>``, ``Y<youtube_id>_<start_time>``, ``<youtube_id>``, ``Y<youtube_id>`` and
    ``<audiocap_id>``; a ``location``, ``file`` or ``id`` as a path below the folder, or by as many of its last parts as
    fit and are no other's. A name that files in several folders bear finds none of them.

    Args:
        captions: of any form that :mod:`consistency_tta.storage.captions` knows.
        audio_folder: where the audio is.

    Returns:
        Clips in the order of their first row. The path of a clip without audio, or without one file that is certainly
        its, does not exist.

    Raises:
        FileNotFoundError: if the file or folder is missing.
        ValueError: if the file cannot be understood, with the line.
    """
    rows = read_rows(captions)
    folder = audio_folder if isinstance(audio_folder, AudioFolder) else AudioFolder(audio_folder)
    clips: dict[str, Clip] = {}
    ids: set[str] = set()
    for row in rows:
        if row.name not in clips:
            clips[row.name] = Clip(new_id(row.name, ids), folder.folder / row.name, length=row.length)
        _locate(clips[row.name], row, folder)
        clips[row.name].captions.append(row.caption)
    return list(clips.values())


def _locate(clip: Clip, row: Row, folder: AudioFolder) -> None:
    """Find a clip's file by the columns of its first row; those of the next rows count only if that finds none."""
    try:
        found = folder.find(*row.candidates) or _whole(row, folder)
        if found is not None:
            clip.path, clip.ambiguous, clip.missing = found, "", ""
            clip.others = [path for path in (*_others(row, folder), *folder.twins(found)) if path != found]
        elif not clip.path.is_file():
            clip.missing = clip.missing or _looked_for(row, folder)
    except AmbiguousName as error:
        if not clip.path.is_file():  # by the audiocap_id of another row
            clip.ambiguous = str(error)


def _whole(row: Row, folder: AudioFolder) -> Path | None:
    """The file that a row's times are a part of, if the part is all of it."""
    file = folder.find(*row.whole)
    if file is None or (row.start or 0) > WHOLE or row.end is None:
        return None
    length = _seconds(file)
    return file if length is not None and length <= row.end + WHOLE and not is_beyond(row.end, length) else None


def _seconds(file: Path) -> float | None:
    """The length of a sound file; None if it cannot be read."""
    try:
        rate, frames, _ = audio_info(file)
        return frames / rate
    except BadClip:
        return None


def is_beyond(time: float | None, length: float) -> bool:
    """Whether a time is so far behind a file's end that it is not in seconds."""
    return time is not None and time > BEYOND * length + SLACK


def _others(row: Row, folder: AudioFolder) -> list[Path]:
    """All files that bear a name of a part of a video; a path is one file's."""
    if row.candidates[0].startswith("/") or row.whole:
        return []
    files = dict.fromkeys(found for name in row.candidates[:-1] if (found := folder.find(name)) is not None)
    return list(files)


def _looked_for(row: Row, folder: AudioFolder) -> str:
    """Which names were looked for, and which files have names like them."""
    names = list(dict.fromkeys(name.lstrip("/") for name in row.candidates if name.strip("/")))
    more = f" and {len(names) - NAMED} more names" if len(names) > NAMED else ""
    looked = f"no {', '.join(names[:NAMED])}{more} ({', '.join(EXTENSIONS)}) below {folder.folder}"
    if row.whole and (whole := folder.find(*row.whole)) is not None:
        end = "its end" if row.end is None else f"{row.end:g} s"
        length = _seconds(whole)
        if length is not None and (is_beyond(row.end, length) or is_beyond(row.start, length)):
            return (
                f"{looked}; the caption is of {row.start or 0:g} s to {end} of {whole.name}, which has {length:.2f} s: "
                "write times in seconds"
            )
        return (
            f"{looked}; the caption is of {row.start or 0:g} s to {end} of {whole.name}, not of all of it: cut the "
            "parts into files of their own, or remove the columns of times where files are whole"
        )
    likely = (*names[:1], row.name, row.recording)
    near = list(dict.fromkeys(path for name in likely for path in folder.near(name)))
    near = (near or folder.near_number(row.candidates[-1]))[:NAMED]  # of AudioCaps the number of a caption
    if not near:
        return looked
    kinds = [] if all(path.lower().endswith(EXTENSIONS) for path in near) else ["convert what is of another kind"]
    return f"{looked}; there is {', '.join(near)}: {' or '.join([*kinds, 'correct the name'])}"


def new_id(name: str, ids: set[str]) -> str:
    """A name for files, not among ``ids``, to which it is added: ``dog_1`` for ``dog/1``, ``dog_1-2`` for ``dog_1``."""
    stem = re.sub(r"[^\w.-]+", "_", name)
    number, new = 1, stem
    while new in ids:
        number += 1
        new = f"{stem}-{number}"
    ids.add(new)
    return new
