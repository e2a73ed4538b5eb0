"""YAML of too many levels is an error, and neither a RecursionError nor a crash."""

from __future__ import annotations

import pytest
import yaml

from consistency_tta.runtime.deep_yaml import DEEPEST, is_too_deep, load_yaml

LEVELS = 50_000  # at which the reader that is written in C crashes
DEEP = {
    "lists": f"a: {'[' * LEVELS}{']' * LEVELS}",
    "not closed": "[" * LEVELS,
    "mappings": '{"a": ' * LEVELS + "1" + "}" * LEVELS,
    "a text": f"a: '{'[' * LEVELS}{']' * LEVELS}'",
    "dashes": "- " * LEVELS + "a",
    "closed before": "]" * LEVELS + "[" * LEVELS,
    "beside others": "[[], " * LEVELS,
}


@pytest.mark.parametrize("case", DEEP)
def test_what_is_too_deep_is_an_error(case: str) -> None:
    assert is_too_deep(DEEP[case])
    with pytest.raises(yaml.YAMLError, match="nested too deep"):
        load_yaml(DEEP[case])


def test_deep_indentation_is_an_error() -> None:
    with pytest.raises(yaml.YAMLError, match="nested too deep"):
        load_yaml("\n".join(" " * level + "a:" for level in range(1000)))


@pytest.mark.parametrize(
    "text",
    [
        "a: [" + "[1], " * 1000 + "]",
        "[" * DEEPEST + "]" * DEEPEST,
        "a: []\nb: " + "[" * DEEPEST + "]" * DEEPEST,
        f"a: 1  # {'-' * 500}",
    ],
)
def test_what_is_only_long_is_read(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)
