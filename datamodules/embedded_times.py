"""Times that stand next to a sound inside of another file: of a part of that sound, or of what it was cut from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from consistency_tta.audio.bad_clip import BadClip, Fault
from consistency_tta.audio.sound_file import audio_info
from consistency_tta.audio.sound_source import SoundSource
from consistency_tta.datamodules.clips import WHOLE, is_beyond
from consistency_tta.storage.caption_records import Record, column_name
from consistency_tta.storage.captions import VIDEO_COLUMNS
from consistency_tta.storage.part_names import seconds
from consistency_tta.storage.row_times import times_in_file

#: Columns of a video's id, next to which times are the video's.
VIDEOS = (*VIDEO_COLUMNS, "video_id", "yt_id", "youtube_video_id")
#: Start and end in seconds; None for the sound's end.
Times = tuple[float, float | None]


def times_of(fields: Mapping[str, Any], place: str) -> Times | None:
    """The times of an entry, such as its ``start_time`` and ``end_time``; None if it has none, or they are a video's.

    Args:
        fields: of the entry, by key or column.
        place: the file and the entry, for errors.

    Raises:
        DataError: one is no number of seconds, or the part ends before it begins.
    """
    # A list of times is of events inside of the sound, a date of the recording: not of what the captions are of.
    single = {name: value for name, value in fields.items() if not isinstance(value, list | dict | date)}
    record = Record(place, 0, {column_name(str(name)): value for name, value in single.items()})
    if any(record.fields.get(column) for column in VIDEOS):
        return None
    begin, end = times_in_file(record)
    start = seconds(begin) or 0.0
    return (start, seconds(end)) if start or end else None


def check_whole(source: SoundSource, times: Times) -> None:
    """Raise if a caption is of a part of a sound, of which only the whole can be read.

    A sound that is no longer than the part is the part, cut from something longer.

    Raises:
        BadClip: names the times; also if the sound cannot be read.
    """
    start, end = times
    rate, frames, _ = audio_info(source)
    length = frames / rate
    is_whole = start >= length if end is None else length <= end - start + WHOLE
    in_seconds = end is None or not is_beyond(end - start, length)
    if not (is_whole and in_seconds):
        stop = "its end" if end is None else f"{end:g} s"
        remedy = "cut the parts into sounds of their own" if in_seconds else "write times in seconds"
        raise BadClip(
            Fault.MISSING,
            f"the caption is of {start:g} s to {stop} of this sound of {length:.2f} s: {remedy}, or remove the times "
            "where sounds are whole",
        )
