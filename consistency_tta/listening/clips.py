"""The clips of which every system has a sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consistency_tta.datamodules.clips import AmbiguousName, AudioFolder
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.storage.captions import read_rows


@dataclass(frozen=True)
class ListeningClip:
    """A caption, and each system's sound for it.

    Attributes:
        name: of the clip.
        caption: of the clip.
        files: by system.
    """

    name: str
    caption: str
    files: dict[str, Path]


def parse_systems(texts: Sequence[str]) -> dict[str, AudioFolder]:
    """The folders of ``name=folder`` texts, by name.

    Raises:
        ConfigurationError: a text has another form, or a name comes twice.
    """
    systems: dict[str, AudioFolder] = {}
    for text in texts:
        name, _, folder = text.partition("=")
        if not name or not folder:
            raise ConfigurationError(f"expected systems as name=folder, such as student=out/student, got {text!r}")
        if name in systems:
            raise ConfigurationError(f"the system {name!r} is there twice: give each folder a name of its own")
        systems[name] = AudioFolder(folder)
    if not systems:
        raise ConfigurationError("expected at least one system as name=folder, got none")
    return systems


def clips_of_all(captions: Path, systems: dict[str, AudioFolder]) -> list[ListeningClip]:
    """The clips of a caption file of which every system has a sound.

    A file belongs to the clip that it is named after, by ``generate`` or as a recording
    (:class:`consistency_tta.storage.captions.Row`). Of several captions with the same file the first counts.

    Args:
        captions: as :func:`consistency_tta.storage.captions.read_rows` reads them.
        systems: their folders.

    Raises:
        DataError: a name is ambiguous, or no clip is in all folders.
        ValueError: the caption file cannot be read.
    """
    clips: list[ListeningClip] = []
    taken: set[Path] = set()
    found = dict.fromkeys(systems, 0)
    for row in read_rows(captions):
        files: dict[str, Path] = {}
        for system, folder in systems.items():
            try:
                file = folder.find(row.file, *row.candidates)
            except AmbiguousName as error:
                raise DataError(f"system {system}: {error}") from error
            if file is not None:
                files[system] = file
                found[system] += 1
        if len(files) == len(systems) and taken.isdisjoint(files.values()):
            taken.update(files.values())
            clips.append(ListeningClip(row.file, row.caption, files))
    if not clips:
        counts = ", ".join(f"{system} has {count}" for system, count in found.items())
        raise DataError(
            f"no clip of {captions} has a sound in every folder ({counts}): files must be named as the clips, "
            "such as <id>.wav"
        )
    return clips
