"""Checks of captions, wherever they are read from."""

from __future__ import annotations

import re
from typing import Any

from consistency_tta.runtime.errors import DataError

#: What pandas and others write for no value.
NO_VALUE = {"nan", "none", "null", "<na>", "n/a", "#n/a", "na", "nil"}


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
    if not caption:
        raise DataError(f"{place}: the caption of {clip!r} is empty; remove or complete it")
    if caption.lower() in NO_VALUE:
        raise DataError(f"{place}: expected a caption, got {caption!r}, which stands for none: remove the row")
    if re.fullmatch(r"[\[({]\s*(['\"]).*\1\s*,?\s*[\])}]", caption, re.DOTALL):
        raise DataError(
            f"{place}: expected a caption, got a list or object that was printed, {caption:.40}: give each caption a "
            "row"
        )
    return caption
