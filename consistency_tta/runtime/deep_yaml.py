"""YAML that is nested so deep that its readers would end in a RecursionError or, those written in C, in a crash."""

from __future__ import annotations

import re
from typing import Any

#: Levels of lists and mappings that are read.
DEEPEST = 200
NESTED = "expected a few levels of lists and mappings, got some nested too deep"


def is_too_deep(text: str) -> bool:
    """Whether a text, or a text within it, would be YAML of too many levels: of brackets, or of dashes in one line."""
    if text.count("[") + text.count("{") > DEEPEST:
        depth = 0
        for bracket in re.findall(r"[\[\]{}]", text):
            depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
            if depth > DEEPEST:
                return True
    return re.search(rf"(?:[-?] +){{{DEEPEST}}}", text) is not None


def load_yaml(text: str) -> Any:
    """What is in YAML.

    Raises:
        yaml.YAMLError: it is no YAML, or nested too deep.
    """
    import yaml  # here: not all commands read YAML

    if is_too_deep(text):
        raise yaml.YAMLError(NESTED)
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise yaml.YAMLError(NESTED) from None
