"""Checks of captions, wherever they are read from."""

from __future__ import annotations

import ast
import re
import unicodedata
from typing import Any

from consistency_tta.runtime.errors import DataError

#: What pandas, spreadsheets and others write for no value.
NO_VALUE = {"nan", "nat", "none", "null", "<na>", "n/a", "#n/a", "na", "nil", "undefined", "#name?", "#ref!", "#value!"}
#: What is in no text: NUL, and halves of characters, which JSON can write and nothing can print.
NO_TEXT = re.compile("[\0\ud800-\udfff]")


def clean_captions(value: Any, place: str, clip: str) -> list[str]:
    """One or more captions, without space around them.

    Args:
        value: a caption, or a list of captions.
        place: the file and the line, for errors.
        clip: whose captions they are, for errors.

    Raises:
        DataError: one is no text, is empty, stands for no value, or is a list that was printed.
    """
    several = value if isinstance(value, list) else [value]
    if not several or not all(isinstance(caption, str) for caption in several):
        raise DataError(f"{place}: expected a caption or a list of captions, got {value!s:.60}")
    return [_clean(caption.strip(), place, clip) for caption in several]


def _clean(caption: str, place: str, clip: str) -> str:
    if NO_TEXT.search(caption):
        raise DataError(f"{place}: expected a caption of text, got a NUL or half a character in {caption!a:.60}")
    if has_no_words(caption):
        raise DataError(f"{place}: the caption of {clip!r} has no words, {caption!r:.20}; remove or complete it")
    if caption.lower() in NO_VALUE:
        raise DataError(f"{place}: expected a caption, got {caption!r}, which stands for none: remove the row")
    if _is_printed(caption):
        raise DataError(
            f"{place}: expected a caption, got a list or object that was printed, {caption:.40}: give each caption a "
            "row"
        )
    return caption


def has_no_words(text: str) -> bool:
    """Whether a text has only spaces, punctuation, control characters and marks without width (U+200B, U+FEFF)."""
    kinds = {unicodedata.category(character) for character in text}
    return all(kind[0] in "ZP" or kind in ("Cc", "Cf") for kind in kinds)


def _is_printed(caption: str) -> bool:
    """Whether a caption is what Python, numpy or pandas print for a list, a dictionary or bytes."""
    inner = re.sub(r"^array\((.*?)(, dtype=\w+)?\)$", r"\1", caption, flags=re.DOTALL)
    if re.fullmatch(r"[\[{]\s*(['\"]).*\1\s*,?\s*[\]}]", inner, re.DOTALL):
        return True
    if not inner or inner[0] not in "[({b":
        return False
    try:
        return isinstance(ast.literal_eval(re.sub(r"\bnan\b", "None", inner)), list | tuple | dict | set | bytes)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
