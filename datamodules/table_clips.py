"""Clips in tables of the package ``datasets`` (Hugging Face).

    Q. Lhoest et al., "Datasets: A Community Library for Natural Language Processing", EMNLP 2021,
    https://aclanthology.org/2021.emnlp-demo.21

Its own decoding of sounds needs torchcodec. Here the files' bytes are taken from the table and decoded as all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consistency_tta.audio.bad_clip import BadClip, Fault
from consistency_tta.audio.sound_source import SoundBytes, SoundSource
from consistency_tta.datamodules.clips import new_id
from consistency_tta.datamodules.embedded_clips import EmbeddedClip
from consistency_tta.datamodules.embedded_times import VIDEOS, Times, times_of
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.caption_records import column_name
from consistency_tta.storage.caption_text import clean_captions
from consistency_tta.storage.time_columns import time_columns


@dataclass
class SoundTable:
    """The sounds of a table.

    Attributes:
        rows: a ``datasets.Dataset`` with sounds that are not decoded.
        column: of the sounds.
        name: of the table, for messages.
    """

    rows: Any
    column: str
    name: str

    def sound(self, index: int) -> SoundSource:
        """A row's sound; see :class:`~consistency_tta.datamodules.embedded_clips.SoundContainer`."""
        value = self.rows[index][self.column] or {}
        if value.get("bytes"):
            return SoundBytes(f"{self.name}, row {index}", value["bytes"])
        if value.get("path"):
            return Path(value["path"])
        raise BadClip(Fault.MISSING, f"row {index} of {self.name} has neither bytes nor a path")


def read_table(
    rows: Any, name: str, audio_column: str = "audio", caption_column: str = "caption", id_column: str | None = None
) -> list[EmbeddedClip]:
    """The clips of a ``datasets.Dataset``.

    Args:
        rows: with the columns.
        name: of the data set and its split, for messages and ids.
        audio_column: sound files: bytes, a path, or what ``datasets.Audio`` holds.
        caption_column: a caption or a list of captions for each.
        id_column: the clips' names; None for the number of the row.

    Raises:
        ConfigurationError: if there is no such column, or that of the sounds has something else.
        DataError: if a caption, or a time of a part, cannot be used, with its row.
    """
    import datasets

    for column in filter(None, (audio_column, caption_column, id_column)):
        if column not in rows.column_names:
            raise ConfigurationError(
                f"expected one of the columns {', '.join(rows.column_names)} of {name}, got {column}: set "
                "audio_column, caption_column or id_column"
            )
    rows = rows.with_format(None)
    try:
        sounds = rows.select_columns([audio_column]).cast_column(audio_column, datasets.Audio(decode=False))
    except (ImportError, NotImplementedError, TypeError, ValueError) as error:  # of Arrow, or for want of torchcodec
        raise ConfigurationError(
            f"expected sound files in the column {audio_column} of {name}, as bytes, paths or datasets.Audio, got "
            f"{rows.features[audio_column]}: set audio_column"
        ) from error
    table = SoundTable(sounds, audio_column, name)
    captions = rows.select_columns([caption_column])[:][caption_column]
    names = rows.select_columns([id_column])[:][id_column] if id_column else range(len(rows))
    times = _times(rows, name)
    ids: set[str] = set()
    clips = []
    for index, (given, caption) in enumerate(zip(names, captions, strict=True)):
        text = clean_captions(caption, f"{name}, row {index}", str(given))
        place, part = Path(name, f"row {index}"), times[index] if times else None
        clips.append(EmbeddedClip(new_id(str(given), ids), place, text, container=table, index=index, times=part))
    return clips


def _times(rows: Any, name: str) -> list[Times | None]:
    """The times of each row; empty where no column has any."""
    spelled = {column_name(column): column for column in rows.column_names}
    found = [spelled[column] for several in time_columns(tuple(spelled)).values() for column in several]
    if not found:
        return []
    videos = [spelled[column] for column in VIDEOS if column in spelled]
    columns = rows.select_columns([*found, *videos])[:]
    return [
        times_of(dict(zip(columns, row, strict=True)), f"{name}, row {index}")
        for index, row in enumerate(zip(*columns.values(), strict=True))
    ]
