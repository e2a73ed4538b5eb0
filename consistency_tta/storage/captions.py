"""Caption files: clips and their captions.

    CSV    audiocap_id,youtube_id,start_time,caption   AudioCaps (C. D. Kim et al., "AudioCaps: Generating Captions for
                                                       Audios in The Wild", NAACL 2019,
                                                       https://aclanthology.org/N19-1011)
           file_name,caption_1,caption_2,...           Clotho (K. Drossos et al., 2020, https://arxiv.org/abs/1910.09387)
           id,caption or file,caption                  the simplest
    JSON   location, captions                          TANGO (D. Ghosal et al., 2023, https://arxiv.org/abs/2304.13731)
           data: id, caption                           WavCaps (X. Mei et al., 2023, https://arxiv.org/abs/2303.17395)
           id or file, caption or captions             the simplest

JSON is a list, an object with a list ``data``, or an object a line; CSV may have tabs, semicolons or bars for commas.
The format is recognised by the content, not by the file's name. docs/data.md lists the columns.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.caption_records import Record, read_records
from consistency_tta.storage.caption_text import clean_captions
from consistency_tta.storage.file_columns import (
    EXTENSIONS,
    FILE_COLUMNS,
    file_of_video,
    locations,
    name_in,
    warn_of_contradictions,
)
from consistency_tta.storage.ignored_columns import warn_of_ignored
from consistency_tta.storage.part_names import Part, SharedNames, seconds
from consistency_tta.storage.row_times import stated_length, times, times_in_file
from consistency_tta.storage.text import read_text
from consistency_tta.storage.time_columns import check_both_ends, time_columns

__all__ = ["EXTENSIONS", "Row", "caption_file", "endings", "read_clips", "read_rows"]

#: Clips and captions of the protocols of ``consistency-tta evaluate``, which are data of this package.
CLIP_LISTS = Path(__file__).parents[1] / "evaluation" / "protocols"
#: Columns with the id of a video of which the clip is a part.
VIDEO_COLUMNS = ("youtube_id", "ytid")
#: AudioCaps' number of a caption, by which a file may be named.
NUMBER_COLUMN = "audiocap_id"
CAPTION_COLUMN = re.compile(r"caption(s|_?\d+)?")


class Row(NamedTuple):
    """A caption.

    Attributes:
        line: in the CSV file; the entry's number in JSON.
        name: of its clip, the same for all its captions.
        candidates: names that the clip's recording may have, without extension, the likeliest first.
        file: what to call a sound made for the clip, without extension: the shortest path that is no other clip's.
        caption: without space around it, not empty.
        recording: of which the clip is a part: a video's id, or a file; empty where the row has none.
        whole: for a part of a file, given by its times, names of the file that it is a part of.
        start, end: these times in seconds; None if not given.
        length: of the clip in seconds as the row states it; None if it does not.
    """

    line: int
    name: str
    candidates: list[str]
    file: str
    caption: str
    recording: str = ""
    whole: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None
    length: float | None = None

    @property
    def names(self) -> list[str]:
        """All whole names of the clip: its path, or those that a video's part may have; not the number of a caption."""
        return [self.name] if self.candidates[0].startswith("/") else self.candidates[:-1]


def caption_file(captions: str | Path) -> Path:
    """A caption file, or the clip list of a protocol by its name, such as ``audiocaps-882``."""
    listed = CLIP_LISTS / f"{captions}.csv"
    return listed if not Path(captions).exists() and listed.is_file() else Path(captions)


def read_rows(captions: str | Path) -> list[Row]:
    """The rows of a caption file, in their order.

    Args:
        captions: see :func:`caption_file`.

    Raises:
        FileNotFoundError: the file does not exist.
        DataError: it cannot be understood, with the line, or has no captions.
    """
    captions = caption_file(captions)
    _require_file(captions)
    records = read_records(read_text(captions), captions)
    if not records:
        raise DataError(f"{captions} has no captions: expected a CSV file such as id,caption with rows, or JSON lines")
    columns = list(dict.fromkeys(column for record in records for column in record.fields))
    if not any(map(CAPTION_COLUMN.fullmatch, columns)) or not {*VIDEO_COLUMNS, *FILE_COLUMNS} & set(columns):
        raise DataError(
            f"{captions}: expected a CSV header audiocap_id,youtube_id,start_time,caption (AudioCaps), id,caption or "
            "file_name,caption_1,... (Clotho), or JSON lines with location and captions (TANGO), got "
            f"{','.join(columns)!r:.200}"
        )
    if not any(record.line for record in records):
        raise DataError(f"{captions} has no captions: expected a CSV file with a header, or JSON lines")
    check_both_ends(columns, captions)
    of_times = [column for several in time_columns(tuple(columns)).values() for column in several]
    of_captions = filter(CAPTION_COLUMN.fullmatch, columns)
    warn_of_ignored(records, (*VIDEO_COLUMNS, NUMBER_COLUMN, *FILE_COLUMNS, *of_times, *of_captions), captions)
    videos: list[Record] = []
    files: list[Record] = []
    for record in records:
        (videos if any(column in record.fields for column in VIDEO_COLUMNS) else files).append(record)
    if videos and files:
        raise DataError(f"{files[0].place}: expected a video's id as in other entries, got {files[0].fields!s:.70}")
    warn_of_contradictions(files, captions)
    return _parts_of_videos(videos) if videos else _recordings(files)


def _require_file(captions: Path) -> None:
    """Raise where there is no caption file, with what there is."""
    if captions.is_file():
        return
    if re.match(r"\w{2,}:/", str(captions)):
        raise DataError(f"expected a caption file on this machine, got the address {captions}: download it first")
    if captions.is_dir():
        raise DataError(f"expected a caption file, but {captions} is a folder: name a .csv or .jsonl file in it")
    if captions.exists():
        raise DataError(f"expected a caption file, but {captions} is a pipe or a device: save its content as a file")
    raise FileNotFoundError(f"the caption file {captions} does not exist")


def read_clips(captions: str | Path) -> dict[str, list[str]]:
    """The captions of each clip, by :attr:`Row.file`, in the order of the clips' first rows.

    Raises:
        FileNotFoundError, DataError: as :func:`read_rows`; also for a clip that has no name fit for a file.
    """
    clips: dict[str, list[str]] = {}
    for row in read_rows(captions):
        if {"", ".", ".."} & set(row.file.split("/")) or re.search(r"[\0-\x1f]", row.file):
            raise DataError(f"{captions}, entry {row.line}: expected a name fit for a file, got {row.name!r}")
        clips.setdefault(row.file, []).append(row.caption)
    return clips


def endings(path: str) -> list[str]:
    """``a/b/x``, ``b/x`` and ``x`` for ``a/b/x``."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _parts_of_videos(records: list[Record]) -> list[Row]:
    column = next(column for column in VIDEO_COLUMNS if column in records[0].fields)
    parts = [Part(name_in(record, column), *times(record)) for record in records]
    # Two spellings of a start, 30 and 30.0, are one part.
    shared = SharedNames(parts)
    names = {part: shared.names(part) for part in set(parts)}
    # A column may name the file that the part was saved as.
    files = [endings(file_of_video(record)) for record in records]
    uses = Counter(ending for several in {tuple(several) for several in files} for ending in several)
    result = []
    for record, part, several in zip(records, parts, files, strict=True):
        name = part.recording if len(shared.parts[part.recording]) == 1 else part.name
        number = str(record.fields.get(NUMBER_COLUMN) or "").strip()
        number = "" if number in shared.parts else number  # the id of a video rather than of a caption
        named = [ending for ending in several if ending and uses[ending] == 1]
        candidates = [*named, *names[part], number]
        row = Row(record.line, name, candidates, name, "", part.recording, length=stated_length(record))
        result += [row._replace(caption=caption) for caption in _captions(record)]
    return result


def _recordings(records: list[Record]) -> list[Row]:
    located = [(record, *locations(record)) for record in records]
    # An ending that two locations share is ambiguous: with dog/1 missing, it must not get the sound of cat/1.
    ends = {location: endings(location) for _, location, _ in located}
    uses = Counter(ending for several in ends.values() for ending in several)
    result = []
    for record, location, others in located:
        candidates = ["/" + location, *(ending for ending in ends[location] if uses[ending] == 1)]
        file = candidates[-1].removeprefix("/")
        start, end = times_in_file(record)
        if (seconds(start) or 0) == 0 and not end:
            row = Row(record.line, location, [*candidates, *others], file, "")
        else:
            # The caption is of a part: a file of the whole recording is not the clip.
            part = Part(location, start, end)
            forms = [form for name in candidates for form in Part(name, start, end).forms() if "Y/" not in form]
            named = file + part.name.removeprefix(location)
            whole = (*candidates, *others)
            row = Row(record.line, part.name, forms, named, "", location, whole, seconds(start), seconds(end))
        row = row._replace(length=stated_length(record))
        result += [row._replace(caption=caption) for caption in _captions(record)]
    return result


def _captions(record: Record) -> list[str]:
    """An entry's captions, in the order of its columns.

    Raises:
        DataError: one is empty, stands for no value, or is a list that was printed.
    """
    columns = [column for column in record.fields if CAPTION_COLUMN.fullmatch(column)]
    if "captions" in columns and "caption" in columns:
        columns.remove("caption")
    named = (*VIDEO_COLUMNS, *FILE_COLUMNS)
    clip = next((str(record.fields[column]) for column in named if column in record.fields), "")
    found = [caption for column in columns for caption in clean_captions(record.fields[column], record.place, clip)]
    if not found:
        raise DataError(f"{record.place}: expected a caption, got {record.fields!s:.70}")
    return found
