"""Which clips there are: caption files (:mod:`consistency_tta.storage.captions`) matched with audio in a folder."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from consistency_tta.storage.captions import EXTENSIONS, endings, read_rows


@dataclass
class Clip:
    """A recording and what it is said to contain.

    Attributes:
        id: its name, unique in a caption file, and fit for a file's name.
        path: of the audio file; one that does not exist if the folder has none for it.
        captions: at least one.
        ambiguous: the files that it could be, where the caption file does not tell which; empty for all other clips.
    """

    id: str
    path: Path
    captions: list[str] = field(default_factory=list)
    ambiguous: str = ""


class AmbiguousName(LookupError):  # noqa: N818 - a finding, listed with the clip, before it is an error
    """Several files in different folders bear a name."""


class AudioFolder:
    """The audio files below a folder, listed once and found by name without their extension.

    Args:
        folder: with wav, flac, ogg and mp3 files at any depth.

    Raises:
        FileNotFoundError: if there is no such folder, or no audio in it.
        PermissionError: if the folder, or one in it, may not be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"the audio folder {self.folder} does not exist or is not a folder")
        files = [
            Path(directory, name)
            for directory, _, names in os.walk(self.folder, onerror=_refuse, followlinks=True)
            for name in names
            if name.lower().endswith(EXTENSIONS)
        ]
        if not files:
            raise FileNotFoundError(f"no {', '.join(EXTENSIONS)} file below the audio folder {self.folder}")
        self._num_files = len(files)
        self._paths: dict[str, Path] = {}  # by the path below the folder
        for path in sorted(files, key=lambda path: (EXTENSIONS.index(path.suffix.lower()), path)):
            self._paths.setdefault(path.relative_to(self.folder).with_suffix("").as_posix(), path)
        self._bearers: defaultdict[str, list[str]] = defaultdict(list)  # by the last parts of that path
        for below in sorted(self._paths):
            for name in endings(below):
                self._bearers[name].append(below)

    def __len__(self) -> int:
        return self._num_files

    def find(self, *names: str) -> Path | None:
        """The file that bears one of the names, in the order of the names.

        Args:
            *names: without extension; a path below the folder, or the last parts of one (``x`` and ``b/x`` for
                ``a/b/x.wav``); ``/x`` is only ``x.wav`` in the folder itself.

        Raises:
            AmbiguousName: if files in several folders bear the name, and none is exactly it.
        """
        for name in names:
            if name.lstrip("/") in self._paths:
                return self._paths[name.lstrip("/")]
            bearers = self._bearers.get(name, [])
            if len(bearers) > 1:
                files = [self._paths[below].relative_to(self.folder).as_posix() for below in bearers]
                more = f" and {len(files) - 3} more" if len(files) > 3 else ""
                raise AmbiguousName(
                    f"{name} could be {', '.join(files[:3])}{more}: name the folder in the caption file"
                )
            if bearers:
                return self._paths[bearers[0]]
        return None


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
            clips[row.name] = Clip(_new_id(row.name, ids), folder.folder / row.name)
        clip = clips[row.name]
        try:
            if found := folder.find(*row.candidates):
                clip.path, clip.ambiguous = found, ""
        except AmbiguousName as error:
            if not clip.path.is_file():  # by the audiocap_id of another row
                clip.ambiguous = str(error)
        clip.captions.append(row.caption)
    return list(clips.values())


def _refuse(error: OSError) -> None:
    """Say which folder may not be read: its clips would be called missing. Links in a circle just end."""
    if isinstance(error, PermissionError):
        raise PermissionError(
            f"expected audio folders that may be read, got {error.strerror} for {error.filename}: change its rights"
        ) from error


def _new_id(name: str, ids: set[str]) -> str:
    """A name for files, not among ``ids``, to which it is added: ``dog_1`` for ``dog/1``, ``dog_1-2`` for ``dog_1``."""
    stem = re.sub(r"[^\w.-]+", "_", name)
    number, new = 1, stem
    while new in ids:
        number += 1
        new = f"{stem}-{number}"
    ids.add(new)
    return new
