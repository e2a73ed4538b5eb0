"""Captions in WebDataset's tar files: text with one a line, or JSON."""

from __future__ import annotations

from typing import Any

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.caption_text import clean_captions
from consistency_tta.storage.text import filled_lines, parse_json

#: Keys of a clip's JSON that may hold its captions; ``text`` is that of LAION's audio data sets.
CAPTION_KEYS = ("captions", "caption", "text")


def read_captions(content: bytes, ending: str, place: str, key: str) -> list[str] | None:
    """The captions in a text, one a line, or in a JSON object; None if the object has none."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: expected text in UTF-8, got {content[error.start : error.end]!r}") from error
    if ending == ".txt":
        return clean_captions(filled_lines(text) or "", place, key)
    entry: Any = parse_json(text, place)
    if not isinstance(entry, dict):
        raise DataError(f"{place}: expected an object with a caption, got {entry!s:.60}")
    column = next((column for column in CAPTION_KEYS if column in entry), None)
    return None if column is None else clean_captions(entry[column], place, key)
