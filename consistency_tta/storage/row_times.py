"""The times of a caption table's rows: which part of a recording a caption is of."""

from __future__ import annotations

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.caption_records import Record
from consistency_tta.storage.caption_text import NO_VALUE
from consistency_tta.storage.part_names import plain, seconds

#: Columns for the place in the file, or the video, where the clip begins and ends, in seconds.
START_COLUMNS = (
    "start_time", "start", "start_s", "start_seconds", "start_sec", "segment_start", "begin", "begin_time", "from",
    "onset", "seek_time", "offset", "starttime",
)  # fmt: skip
END_COLUMNS = (
    "end_time", "end", "end_s", "end_seconds", "end_sec", "segment_end", "stop", "stop_time", "to", "offset",
    "endtime",
)  # fmt: skip
#: Columns for the length of a part in seconds. In a row without a start it is the file's.
LENGTH_COLUMNS = ("duration", "length", "dur", "duration_s", "duration_seconds", "duration_sec")


def times(record: Record) -> tuple[str, str]:
    """Start and end of a row's part as they are written, an end alone from 0; empty where a row has none.

    Raises:
        DataError: one is no number of seconds, or the part ends before it begins.
    """
    # "offset" is an end behind an onset, otherwise a start.
    not_start, not_end = ("offset", "") if "onset" in record.fields else ("", "offset")
    start = _time(record, tuple(column for column in START_COLUMNS if column != not_start))
    end = _time(record, tuple(column for column in END_COLUMNS if column != not_end))
    if end and not start:
        start = "0"
    if end and (seconds(start) or 0) >= (seconds(end) or 0):
        raise DataError(f"{record.place}: expected a part that ends after it begins, got {start} s to {end} s")
    return start, end


def times_in_file(record: Record) -> tuple[str, str]:
    """As :func:`times`; the end may also be given by a length.

    Raises:
        DataError: as :func:`times`.
    """
    start, end = times(record)
    length = _time(record, LENGTH_COLUMNS) if start and not end else ""
    return start, plain(str(round((seconds(start) or 0) + (seconds(length) or 0), 6))) if length else end


def stated_length(record: Record) -> float | None:
    """The length of a row's clip in seconds by its length, or by its start and end; None if it states none."""
    for column in LENGTH_COLUMNS:
        if (length := seconds(str(record.fields.get(column) or "").strip())) is not None and length > 0:
            return length
    start, end = times(record)
    return (seconds(end) or 0) - (seconds(start) or 0) if end else None


def _time(record: Record, columns: tuple[str, ...]) -> str:
    for column in columns:
        value = str(record.fields.get(column) or "").strip()
        if record.fields.get(column) == 0:
            value = "0"
        if not value or value.lower() in NO_VALUE:
            continue
        time = seconds(value)
        if time is None or time < 0:
            raise DataError(f"{record.place}: expected seconds as {column}, such as 30 or 2.5, got {value!r:.60}")
        return value
    return ""
