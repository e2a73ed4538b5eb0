"""Raters' answers. They come from outside, so everything in them is checked."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consistency_tta.listening.key import ANSWERS, DATABASE, Key

#: The longest name of a rater, in characters.
LONGEST_NAME = 80
#: A list of a file's faults has at most this many: a file can be wrong in every line.
MOST_FAULTS = 10


@dataclass(frozen=True)
class Rated:
    """A rater's scores of an item.

    Attributes:
        scores: by scale; every scale is there.
        plays: how often the sound was played to its end.
    """

    scores: dict[str, int]
    plays: int


@dataclass(frozen=True)
class Answers:
    """A rater's answers.

    Attributes:
        rater: their name.
        saved: when, as ISO 8601 in UTC.
        items: scores, by the item's name in the page.
    """

    rater: str
    saved: str
    items: dict[str, Rated]


def check(content: Any, key: Key) -> tuple[Answers | None, list[str]]:
    """The answers that can be used, and a description of every fault.

    Args:
        content: what was in the file.
        key: of the test.

    Returns:
        None if the file has no answers to this test; otherwise the answers without the faulty items.
    """
    if not isinstance(content, dict):
        return None, [f"expected an object, got {content!r:.40}"]
    rater, saved, items = (content.get(name) for name in ("rater", "saved", "items"))
    if content.get("test") != key.test:
        return None, [f"the answers are to the test {content.get('test')!r:.40}, not to {key.test!r}"]
    if not isinstance(rater, str) or not rater.strip() or len(rater) > LONGEST_NAME or not rater.isprintable():
        return None, [f"expected a rater's name of 1 to {LONGEST_NAME} printable characters, got {rater!r:.40}"]
    if not isinstance(saved, str) or not isinstance(items, dict):
        return None, ["expected `saved`, a time, and `items`, an object"]
    faults: list[str] = []
    good: dict[str, Rated] = {}
    for name, item in items.items():
        if name not in key.items:
            faults.append(f"unknown item {name!r:.40}")
        elif fault := _fault(item, key):
            faults.append(f"item {name}: {fault}")
        else:
            good[name] = Rated({scale.name: item["scores"][scale.name] for scale in key.scales}, item["plays"])
    if len(faults) > MOST_FAULTS:
        faults[MOST_FAULTS:] = [f"and {len(faults) - MOST_FAULTS} more"]
    return Answers(rater.strip(), saved, good), faults


def _fault(item: Any, key: Key) -> str | None:
    scores = item.get("scores") if isinstance(item, dict) else None
    if not isinstance(scores, dict) or scores.keys() != {scale.name for scale in key.scales}:
        return f"expected scores for {', '.join(scale.name for scale in key.scales)}, got {scores!r:.60}"
    for scale in key.scales:
        value = scores[scale.name]
        if type(value) is not int or not scale.low <= value <= scale.high:
            return f"{scale.name}: expected a whole number from {scale.low} to {scale.high}, got {value!r:.40}"
    if type(item.get("plays")) is not int or item["plays"] < 0:
        return f"expected how often it was played, got {item.get('plays')!r:.40}"
    return None


def collect(folder: Path, key: Key, files: Iterable[Path] = ()) -> tuple[list[Answers], list[str]]:
    """All answers to a test, each rater's last, and what could not be used.

    Args:
        folder: of the test, with the server's database and an ``answers`` folder, if they are there.
        key: of the test.
        files: more JSON files, or folders of them.

    Returns:
        Answers in the order of the raters' names, and faults, each with its source.
    """
    last: dict[str, Answers] = {}
    faults: list[str] = []
    for source, text in _sources(folder, key, files):
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            faults.append(f"{source}: not JSON: {error!s:.80}")
            continue
        answers, found = check(content, key)
        faults += [f"{source}: {fault}" for fault in found]
        if answers is None:
            continue
        earlier = last.get(answers.rater)
        if earlier is not None and earlier != answers:
            faults.append(f"{source}: {answers.rater} answered more than once; what was saved last counts")
        if earlier is None or answers.saved >= earlier.saved:
            last[answers.rater] = answers
    return [last[rater] for rater in sorted(last)], faults


def _sources(folder: Path, key: Key, files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """(where, text) of all answers."""
    paths = [folder / ANSWERS] if (folder / ANSWERS).is_dir() else []
    for path in [*paths, *files]:
        if not path.exists():
            raise FileNotFoundError(f"expected a file or folder of answers, but there is no {path}")
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            yield str(file), file.read_text(encoding="utf-8", errors="replace")
    if (folder / DATABASE).is_file():
        with closing(sqlite3.connect(folder / DATABASE)) as database:
            rows = database.execute("SELECT rater, answers FROM answers WHERE test = ? ORDER BY rater", (key.test,))
            yield from ((f"{DATABASE}, {rater}", text) for rater, text in rows)
