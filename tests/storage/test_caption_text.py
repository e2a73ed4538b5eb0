"""Captions are text, and no lists that a program has printed."""

from __future__ import annotations

from typing import Any

import pytest

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.caption_text import clean_captions


@pytest.mark.parametrize(
    "printed",
    [
        "array(['A',\n       'B'], dtype=object)",
        "['it's raining']",
        "['A' 'B']",
        "{'a': 1}",
        "[1, nan]",
        "b'A'",
        "('A',)",
    ],
)
def test_what_was_printed_is_refused(printed: str) -> None:
    with pytest.raises(DataError, match=r"place: .*printed"):
        clean_captions(printed, "place", "clip")


@pytest.mark.parametrize(
    "caption", ["array()", "[A dog] barks", "(softly) rain", "bark", "{wind}", "'A dog'", "5 dogs"]
)
def test_brackets_in_a_caption_are_no_list(caption: str) -> None:
    assert clean_captions(f" {caption}\n", "place", "clip") == [caption]
    assert clean_captions([caption, "B "], "place", "clip") == [caption, "B"]


@pytest.mark.parametrize("value", [[], None, 3, ["A", 3], "N/A", "...", "\0", "", ["A", " "]])
def test_what_is_no_caption_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="place: "):
        clean_captions(value, "place", "clip")
