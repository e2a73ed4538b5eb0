"""Caption files: which clips there are, and what is said of them.

    CSV    audiocap_id,youtube_id,start_time,caption   AudioCaps (C. D. Kim et al., "AudioCaps: Generating Captions for
                                                       Audios in The Wild", NAACL 2019,
                                                       https://aclanthology.org/N19-1011)
           file_name,caption_1,caption_2,...           Clotho (K. Drossos et al., 2020, https://arxiv.org/abs/1910.09387)
           id,caption or file,caption                  the simplest
    JSON   location, captions                          TANGO (D. Ghosal et al., 2023, https://arxiv.org/abs/2304.13731)
           id or file, caption or captions             the simplest

JSON is a list, or an object a line. Files are told by their content, not by their names.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

#: Kinds of audio file, the preferred first where a clip has several.
EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")
#: Clips and captions of the protocols of ``consistency-tta evaluate``, which are data of this package.
CLIP_LISTS = Path(__file__).parents[1] / "evaluation" / "protocols"
#: Columns or keys that name a clip by its audio file, with or without folder and extension.
_FILE = ("location", "file", "file_name", "id")


class Row(NamedTuple):
    """A caption.

    Attributes:
        line: in the CSV file; the entry's number in JSON.
        name: of its clip, the same for all its captions.
        candidates: names that the clip's recording may have, without extension, the likeliest first.
        file: what to call a sound made for the clip, without extension: the shortest path that is no other clip's.
        caption: without space around it, not empty.
    """

    line: int
    name: str
    candidates: list[str]
    file: str
    caption: str

    @property
    def names(self) -> list[str]:
        """All whole names of the clip: its path, or those that a video's part may have; not the number of a caption."""
        return [self.name] if self.candidates[0].startswith("/") else self.candidates[:-1]


def caption_file(captions: str | Path) -> Path:
    """A caption file, or the clip list of a protocol by its name, such as ``audiocaps-882``."""
    listed = CLIP_LISTS / f"{captions}.csv"
    return listed if not Path(captions).exists() and listed.is_file() else Path(captions)


def read_text(file: Path) -> str:
    """What is in a text file, without a byte-order mark.

    Raises:
        ValueError: it is not UTF-8, with the line.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{file}, line {line}: expected UTF-8 text, got the byte {error.object[error.start]:#04x}: save it as UTF-8"
        ) from None  # the command would show the cause, which names no file


def read_rows(captions: str | Path) -> list[Row]:
    """The rows of a caption file, in their order.

    Args:
        captions: see :func:`caption_file`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be understood, with the line, or has no captions.
    """
    captions = caption_file(captions)
    if not captions.is_file():
        raise FileNotFoundError(f"the caption file {captions} does not exist")
    text = read_text(captions)
    rows = (_read_json if text.lstrip()[:1] in ("{", "[") else _read_csv)(text, captions)
    for row in rows:
        if not row.caption.strip():
            raise ValueError(
                f"{captions}, entry {row.line}: the caption of {row.name!r} is empty; remove or complete it"
            )
    if not rows:
        raise ValueError(f"{captions} has no captions: expected a CSV file with a header, or JSON lines")
    return [row._replace(caption=row.caption.strip()) for row in rows]


def read_clips(captions: str | Path) -> dict[str, list[str]]:
    """The captions of each clip, by :attr:`Row.file`, in the order of the clips' first rows.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_rows`; also for a clip that has no name fit for a file.
    """
    clips: dict[str, list[str]] = {}
    for row in read_rows(captions):
        if {"", ".", ".."} & set(row.file.split("/")) or re.search(r"[\0-\x1f]", row.file):
            raise ValueError(f"{captions}, entry {row.line}: expected a name fit for a file, got {row.name!r}")
        clips.setdefault(row.file, []).append(row.caption)
    return clips


def endings(path: str) -> list[str]:
    """``a/b/x``, ``b/x`` and ``x`` for ``a/b/x``."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _read_csv(text: str, source: Path) -> list[Row]:
    reader = csv.DictReader(text.splitlines(keepends=True))
    header = reader.fieldnames or []
    columns = [name for name in header if re.fullmatch(r"caption(_\d+)?", name)]
    name = next((name for name in ("youtube_id", *_FILE) if name in header), None)
    if name is None or not columns:
        raise ValueError(
            f"{source}: expected a CSV header audiocap_id,youtube_id,start_time,caption (AudioCaps), id,caption or "
            "file_name,caption_1,... (Clotho), or JSON lines with location and captions (TANGO), got the header "
            f"{','.join(header)!r}"
        )
    rows: list[tuple[int, dict[str, str]]] = []
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(
                f"{source}, line {reader.line_num}: expected {len(header)} fields; quote captions that contain commas"
            )
        rows.append((reader.line_num, row))
    if name == "youtube_id":
        return _parts_of_videos(rows, columns[0])
    return _recordings((line, row[name], row[column]) for line, row in rows for column in columns)


def _parts_of_videos(rows: list[tuple[int, dict[str, str]]], column: str) -> list[Row]:
    starts = dict[str, set[str]]()
    for _, row in rows:
        starts.setdefault(row["youtube_id"], set()).add(row.get("start_time") or "")
    result = []
    for line, row in rows:
        video, start = row["youtube_id"], row.get("start_time") or ""
        candidates = [f"{video}_{start}", f"Y{video}_{start}"]
        if len(starts[video]) == 1:
            name = video
            candidates += [video, f"Y{video}"]
        else:  # a file named by the video alone could be any of its parts
            name = f"{video}_{start}"
        result.append(Row(line, name, [*candidates, row.get("audiocap_id") or ""], name, row[column]))
    return result


def _read_json(text: str, source: Path) -> list[Row]:
    rows: list[tuple[int, str, str]] = []
    for line, entry in _json_entries(text, source):
        keys = entry.keys() if isinstance(entry, dict) else ()
        name = next((key for key in _FILE if key in keys), None)
        several = next((key for key in ("captions", "caption") if key in keys), None)
        if name is None or several is None:
            raise ValueError(
                f"{source}, entry {line}: expected an object with location and captions, or id and caption, "
                f"got {entry!s:.70}"
            )
        captions = [entry[several]] if isinstance(entry[several], str) else entry[several]
        if not isinstance(captions, list) or not captions or not all(isinstance(caption, str) for caption in captions):
            raise ValueError(f"{source}, entry {line}: expected a caption or a list of captions, got {captions!s:.60}")
        rows += [(line, str(entry[name]), caption) for caption in captions]
    return _recordings(rows)


def _recordings(rows: Iterable[tuple[int, str, str]]) -> list[Row]:
    """Rows of (line, audio file, caption)."""
    located = [(line, _without_extension(file), caption) for line, file, caption in rows]
    # An ending that two locations share tells nothing: with dog/1 missing, it must not get the sound of cat/1.
    ends = {location: endings(location) for _, location, _ in located}
    uses = Counter(ending for several in ends.values() for ending in several)
    result = []
    for line, location, caption in located:
        candidates = ["/" + location, *(ending for ending in ends[location] if uses[ending] == 1)]
        result.append(Row(line, location, candidates, candidates[-1].removeprefix("/"), caption))
    return result


def _without_extension(file: str) -> str:
    location = PurePosixPath(file.replace("\\", "/"))
    if location.suffix.lower() in EXTENSIONS:
        location = location.with_suffix("")
    return location.as_posix().lstrip("/") if file else ""  # not "."


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
