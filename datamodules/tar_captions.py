"""Captions in WebDataset's tar files: text with one a line, or JSON."""

from __future__ import annotations

from typing import Any, NamedTuple

from consistency_tta.datamodules.embedded_times import Times, times_of
from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.caption_text import clean_captions
from consistency_tta.storage.text import filled_lines, parse_json

#: Keys of a clip's JSON that may hold its captions; ``text`` is that of LAION's audio data sets.
CAPTION_KEYS = ("captions", "caption", "text")


class ClipText(NamedTuple):
    """What a text says of a clip.

    Attributes:
        captions: at least one; None if a JSON object has none.
        times: of the object; None if it has none.
    """

    captions: list[str] | None
    times: Times | None = None


def read_text(content: bytes, ending: str, place: str, key: str) -> ClipText:
    """The captions in a text, one a line, or in a JSON object."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: expected text in UTF-8, got {content[error.start : error.end]!r}") from error
    if ending == ".txt":
        return ClipText(clean_captions(filled_lines(text) or "", place, key))
    entry: Any = parse_json(text, place)
    if not isinstance(entry, dict):
        raise DataError(f"{place}: expected an object with a caption, got {entry!s:.60}")
    column = next((column for column in CAPTION_KEYS if column in entry), None)
    captions = None if column is None else clean_captions(entry[column], place, key)
    return ClipText(captions, times_of(entry, place))
