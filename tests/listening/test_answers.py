"""Answers from outside: what is wrong is named and does not count."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from consistency_tta.listening.answers import check, collect
from consistency_tta.listening.key import Item, Key
from consistency_tta.listening.server import AnswerStore
from tests.listening.noise import answers, write

KEY = Key("abc", "rating", ("one", "two"), None, {"x": Item("one", "1", "A dog"), "y": Item("two", "1", "A dog")})


def test_good_answers_come_through() -> None:
    found, faults = check(answers(KEY, " Ann ", quality=4, relevance=1), KEY)
    assert faults == []
    assert found is not None
    assert found.rater == "Ann"
    assert found.items["x"].scores == {"quality": 4, "relevance": 1}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"scores": {"quality": 6, "relevance": 1}, "plays": 1}, "quality: expected a whole number from 1 to 5, got 6"),
        ({"scores": {"quality": 3, "relevance": 0}, "plays": 1}, "relevance: expected .* got 0"),
        ({"scores": {"quality": 3.0, "relevance": 1}, "plays": 1}, "got 3.0"),
        ({"scores": {"quality": True, "relevance": 1}, "plays": 1}, "got True"),
        ({"scores": {"quality": 3}, "plays": 1}, "expected scores for quality, relevance"),
        ({"scores": {"quality": 3, "relevance": 1}, "plays": -1}, "how often it was played, got -1"),
        ({"scores": [3, 1]}, "expected scores"),
        ("5", "expected scores"),
    ],
)
def test_a_wrong_item_is_named_and_the_rest_counts(item: Any, message: str) -> None:
    content = answers(KEY)
    content["items"]["x"] = item
    found, (fault,) = check(content, KEY)
    assert found is not None
    assert found.items.keys() == {"y"}
    assert fault.startswith("item x: ")
    assert re.search(message, fault)


def test_unknown_items_are_named_but_not_without_end() -> None:
    content = answers(KEY)
    content["items"] |= {f"unknown{number}": {} for number in range(500)}
    found, faults = check(content, KEY)
    assert found is not None
    assert found.items.keys() == {"x", "y"}
    assert faults[0] == "unknown item 'unknown0'"
    assert (len(faults), faults[-1]) == (11, "and 490 more")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": "abd"}, "to the test 'abd', not to 'abc'"),
        ({"rater": ""}, "rater's name"),
        ({"rater": "A\nB"}, "rater's name"),
        ({"rater": "A" * 81}, "rater's name"),
        ({"rater": 5}, "rater's name"),
        ({"items": []}, "`items`, an object"),
        ({"saved": None}, "`saved`, a time"),
    ],
)
def test_what_is_no_answers_is_refused_whole(change: dict, message: str) -> None:
    found, (fault,) = check(answers(KEY) | change, KEY)
    assert found is None
    assert message in fault
    assert check([1], KEY) == (None, ["expected an object, got [1]"])


def test_all_sources_are_read_and_the_last_answers_count(tmp_path: Path) -> None:
    early, late = answers(KEY, "Bob", quality=1), answers(KEY, "Bob", quality=2) | {"saved": "2026-01-03T00:00:00.000Z"}
    write(tmp_path, late, early)
    (tmp_path / "answers" / "broken.json").write_text("{")
    (tmp_path / "answers" / "deep.json").write_text("[" * 100_000)
    (tmp_path / "more.json").write_text(json.dumps(answers(KEY, "Ann")))
    AnswerStore(tmp_path, KEY).save(json.dumps(answers(KEY, "Cleo")).encode())
    found, faults = collect(tmp_path, KEY, [tmp_path / "more.json"])
    assert [one.rater for one in found] == ["Ann", "Bob", "Cleo"]
    assert found[1].items["x"].scores["quality"] == 2
    assert len(faults) == 3
    assert any("broken.json: not JSON" in fault for fault in faults)
    assert any("deep.json: not JSON" in fault for fault in faults)
    assert any("Bob answered more than once" in fault for fault in faults)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        collect(tmp_path, KEY, [tmp_path / "nowhere"])
