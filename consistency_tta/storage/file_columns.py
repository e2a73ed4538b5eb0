"""Columns of a caption table that name a clip by its audio file."""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.caption_records import Record
from consistency_tta.storage.caption_text import NO_TEXT

log = logging.getLogger(__name__)

#: Kinds of audio file, the preferred first where a clip has several.
EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")
#: Columns or keys that name a clip by its audio file, with or without folder and extension, the surest first.
FILE_COLUMNS = (
    "location", "file", "file_name", "filename", "path", "filepath", "file_path", "audio_path", "audio_filepath",
    "audio", "wav", "id",
)  # fmt: skip
#: Bytes of a file's name, and of a path: what file systems take, with room for the folder.
LONGEST_PART, LONGEST_NAME = 255, 2000
#: What spreadsheets make of an id that begins with "-".
NO_NAME = "#NAME?"


def locations(record: Record) -> tuple[str, list[str]]:
    """The audio file that an entry names, without extension, and the entry's id, if it has both."""
    given = [column for column in FILE_COLUMNS if record.fields.get(column) not in (None, "")]
    if not given:
        given = [column for column in FILE_COLUMNS if column in record.fields][:1]
    if not given:
        raise DataError(
            f"{record.place}: expected an object with location and captions, or id and caption, "
            f"got {record.fields!s:.70}"
        )
    location = without_extension(name_in(record, given[0]))
    other = without_extension(name_in(record, "id")) if given[0] != "id" and "id" in given else location
    return location, [other] if other != location else []


def file_of_video(record: Record) -> str:
    """The audio file, without extension, that a row names beside a video's id; empty if it names none."""
    given = (column for column in FILE_COLUMNS[:-1] if record.fields.get(column) not in (None, ""))
    return next((without_extension(name_in(record, column)) for column in given), "")


def name_in(record: Record, column: str) -> str:
    """A clip's name. Hugging Face's ``audio`` is an object with a ``path``."""
    value = record.fields.get(column)
    if isinstance(value, dict):
        value = value.get("path")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    name = value.strip() if isinstance(value, str) else ""
    if not name or name == NO_NAME or NO_TEXT.search(name):
        raise DataError(f"{record.place}: expected a clip's name as {column}, got {value!r:.70}")
    if len(name.encode()) > LONGEST_NAME or max(len(part.encode()) for part in re.split(r"[/\\]", name)) > LONGEST_PART:
        raise DataError(
            f"{record.place}: expected a clip's name of at most {LONGEST_PART} bytes, and a path of {LONGEST_NAME:,}, "
            f"as {column}, got {name[:40]!r}... of {len(name):,} characters"
        )
    return name


def warn_of_contradictions(records: list[Record], captions: Path) -> None:
    """Log rows in which two columns name different files; an ``id`` may differ from the file's name.

    Args:
        records: of the table.
        captions: the table's file.
    """
    found = []
    for record in records:
        columns = [column for column in FILE_COLUMNS[:-1] if record.fields.get(column) not in (None, "")]
        names = {column: without_extension(name_in(record, column)) for column in columns}
        first = names[columns[0]] if columns else ""
        found += [(record, columns[0], column) for column, name in names.items() if not _may_be_one(first, name)]
    if found:
        record, used, other = found[0]
        log.warning(
            "%s: %s and %s name different files, %r and %r%s; %s is used: remove the column that is not meant",
            record.place, used, other, name_in(record, used), name_in(record, other),
            f" (and in {len(found) - 1} more rows)" if len(found) > 1 else "", used,
        )  # fmt: skip


def _may_be_one(first: str, second: str) -> bool:
    """Whether one path is the other, or its end."""
    return f"/{first}".endswith(f"/{second}") or f"/{second}".endswith(f"/{first}")


def without_extension(file: str) -> str:
    """A path with "/", without the extension of a sound file and "/" in front."""
    location = PurePosixPath(file.replace("\\", "/"))
    if location.suffix.lower() in EXTENSIONS:
        location = location.with_suffix("")
    return location.as_posix().lstrip("/") if file else ""  # not "."
