"""Which clips there are: caption files of AudioCaps and TANGO, matched with the audio in a folder.

AudioCaps (C. D. Kim et al., "AudioCaps: Generating Captions for Audios in The Wild", NAACL 2019,
https://aclanthology.org/N19-1011) is a CSV file ``audiocap_id,youtube_id,start_time,caption``. TANGO (D. Ghosal et
al., 2023, https://arxiv.org/abs/2304.13731) reads JSON lines with ``location`` and ``captions``.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

#: Kinds of audio file, the preferred first where a clip has several.
EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")


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
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"the audio folder {self.folder} does not exist or is not a folder")
        files = [
            Path(directory, name)
            for directory, _, names in os.walk(self.folder, followlinks=True)
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
            for name in _endings(below):
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


def _endings(path: str) -> list[str]:
    """``a/b/x``, ``b/x`` and ``x`` for ``a/b/x``."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def read_captions(captions: str | Path, audio_folder: str | Path | AudioFolder) -> list[Clip]:
    """Read a caption file and find each clip's audio.

    Rows that name the same clip become several captions of one clip. Audio is looked up as
    ``<youtube_id>_<start_time>``, ``Y<youtube_id>_<start_time>``, ``<youtube_id>``, ``Y<youtube_id>`` and
    ``<audiocap_id>``; a JSON ``location`` as a path below the folder, or by as many of its last parts as fit and are no
    other location's. A name that files in several folders bear finds none of them.

    Args:
        captions: a CSV file with a header (``youtube_id`` and ``caption``; ``audiocap_id`` and ``start_time`` may be
            missing), JSON lines, or one JSON list. The content decides, not the file's name.
        audio_folder: where the audio is.

    Returns:
        Clips in the order of their first row. The path of a clip without audio, or without one file that is certainly
        its, does not exist.

    Raises:
        FileNotFoundError: if the file or folder is missing.
        ValueError: if the file cannot be understood, with the line.
    """
    captions = Path(captions)
    if not captions.is_file():
        raise FileNotFoundError(f"the caption file {captions} does not exist")
    folder = audio_folder if isinstance(audio_folder, AudioFolder) else AudioFolder(audio_folder)
    text = captions.read_text(encoding="utf-8-sig")
    reader = _read_json if text.lstrip()[:1] in ("{", "[") else _read_csv
    clips: dict[str, Clip] = {}
    ids: set[str] = set()
    for line, name, candidates, caption in reader(text, captions):
        if not caption.strip():
            raise ValueError(f"{captions}, entry {line}: the caption of {name!r} is empty; remove or complete it")
        if name not in clips:
            clips[name] = Clip(_new_id(name, ids), folder.folder / name)
        clip = clips[name]
        try:
            if found := folder.find(*candidates):
                clip.path, clip.ambiguous = found, ""
        except AmbiguousName as error:
            if not clip.path.is_file():  # by the audiocap_id of another row
                clip.ambiguous = str(error)
        clip.captions.append(caption.strip())
    if not clips:
        raise ValueError(f"{captions} has no captions: expected a CSV file with a header, or JSON lines")
    return list(clips.values())


def _new_id(name: str, ids: set[str]) -> str:
    """A name for files, not among ``ids``, to which it is added: ``dog_1`` for ``dog/1``, ``dog_1-2`` for ``dog_1``."""
    stem = re.sub(r"[^\w.-]+", "_", name)
    number, new = 1, stem
    while new in ids:
        number += 1
        new = f"{stem}-{number}"
    ids.add(new)
    return new


_Row = tuple[int, str, list[str], str]  # line or entry, the clip's name, its possible file names, one caption


def _read_csv(text: str, source: Path) -> list[_Row]:
    reader = csv.DictReader(text.splitlines(keepends=True))
    header = reader.fieldnames or []
    if "youtube_id" not in header or "caption" not in header:
        raise ValueError(
            f"{source}: expected a CSV header audiocap_id,youtube_id,start_time,caption (AudioCaps) or JSON lines with "
            f"location and captions (TANGO), got the header {','.join(header)!r}"
        )
    rows, starts = [], dict[str, set[str]]()
    for row in reader:
        if row["caption"] is None or None in row:
            raise ValueError(
                f"{source}, line {reader.line_num}: expected {len(header)} fields; quote captions that contain commas"
            )
        rows.append((reader.line_num, row))
        starts.setdefault(row["youtube_id"], set()).add(row.get("start_time") or "")
    result: list[_Row] = []
    for line, row in rows:
        video, start = row["youtube_id"], row.get("start_time") or ""
        candidates = [f"{video}_{start}", f"Y{video}_{start}"]
        if len(starts[video]) == 1:
            name = video
            candidates += [video, f"Y{video}"]
        else:  # a file named by the video alone could be any of its parts
            name = f"{video}_{start}"
        result.append((line, name, [*candidates, row.get("audiocap_id") or ""], row["caption"]))
    return result


def _read_json(text: str, source: Path) -> list[_Row]:
    rows: list[tuple[int, str, str]] = []
    for line, entry in _json_entries(text, source):
        if not isinstance(entry, dict) or not {"location", "captions"} <= entry.keys():
            raise ValueError(
                f"{source}, entry {line}: expected an object with location and captions, got {entry!s:.70}"
            )
        location = PurePosixPath(str(entry["location"]).replace("\\", "/"))
        if location.suffix.lower() in EXTENSIONS:
            location = location.with_suffix("")
        captions = [entry["captions"]] if isinstance(entry["captions"], str) else entry["captions"]
        if not isinstance(captions, list) or not captions or not all(isinstance(caption, str) for caption in captions):
            raise ValueError(f"{source}, entry {line}: expected a caption or a list of captions, got {captions!s:.60}")
        rows += [(line, location.as_posix().lstrip("/"), caption) for caption in captions]
    # An ending that two locations share tells nothing: with dog/1 missing, it must not get the sound of cat/1.
    endings = {location: _endings(location) for _, location, _ in rows}
    uses = Counter(ending for several in endings.values() for ending in several)
    return [
        (line, location, ["/" + location, *(ending for ending in endings[location] if uses[ending] == 1)], caption)
        for line, location, caption in rows
    ]


def _json_entries(text: str, source: Path) -> list[tuple[int, Any]]:
    try:
        if text.lstrip().startswith("["):
            return list(enumerate(json.loads(text), start=1))
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}: not valid JSON: {error}") from error
    entries = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                entries.append((number, json.loads(line)))
            except json.JSONDecodeError as error:
                raise ValueError(f"{source}, line {number}: not valid JSON: {error}") from error
    return entries
