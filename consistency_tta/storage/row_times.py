"""The times of a caption table's rows: which part of a recording a caption is of."""

from __future__ import annotations

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.caption_records import Record
from consistency_tta.storage.caption_text import NO_VALUE
from consistency_tta.storage.part_names import plain, seconds
from consistency_tta.storage.time_columns import time_columns

#: Seconds by which two columns for one time may differ: one may be rounded.
ALIKE = 1.0


def times(record: Record) -> tuple[str, str]:
    """Start and end of a row's part in seconds as they are written, an end alone from 0; empty where a row has none.

    Raises:
        DataError: one is no number of seconds, two columns for one differ, or the part ends before it begins.
    """
    start, end = _time(record, "start"), _time(record, "end")
    if end and not start:
        start = "0"
    if end and (seconds(start) or 0) >= (seconds(end) or 0):
        raise DataError(f"{record.place}: expected a part that ends after it begins, got {start} s to {end} s")
    return start, end


def times_in_file(record: Record) -> tuple[str, str]:
    """As :func:`times`; the end may also be given by a length. In a row without a start a length is the file's.

    Raises:
        DataError: as :func:`times`, or a length is 0.
    """
    start, end = times(record)
    if end or not start or not (stated := _time(record, "length")):
        return start, end
    if not (length := seconds(stated) or 0):
        raise DataError(f"{record.place}: expected a part of some length, got {stated} s from {start} s on")
    return start, plain(str(round((seconds(start) or 0) + length, 6)))


def stated_length(record: Record) -> float | None:
    """The length of a row's clip in seconds by its length, or by its start and end; None if it states none."""
    for column, unit in time_columns(tuple(record.fields))["length"].items():
        if (length := seconds(str(record.fields[column] or "").strip())) is not None and length > 0:
            return length / unit
    start, end = times(record)
    return (seconds(end) or 0) - (seconds(start) or 0) if end else None


def _time(record: Record, kind: str) -> str:
    found: dict[str, str] = {}
    for column, unit in time_columns(tuple(record.fields))[kind].items():
        value = "0" if record.fields[column] == 0 else str(record.fields[column] or "").strip()
        if not value or value.lower() in NO_VALUE:
            continue
        time = seconds(value)
        if time is None or time < 0:
            expected = "seconds" if unit == 1 else "milliseconds"
            raise DataError(f"{record.place}: expected {expected} as {column}, such as 30 or 2.5, got {value!r:.60}")
        found[column] = value if unit == 1 else plain(str(time / unit))  # as it is in names of files: 30.0000
    first = next(iter(found), "")
    for column, value in found.items():
        if abs((seconds(value) or 0) - (seconds(found[first]) or 0)) > ALIKE:
            raise DataError(
                f"{record.place}: expected one {kind} of a part, got {found[first]} s as {first} and {value} s as "
                f"{column}: remove the column that is not meant"
            )
    return found.get(first, "")
