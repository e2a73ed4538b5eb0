"""The key of a listening test, which stays with the experimenter, and the scales of its answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from consistency_tta.runtime.errors import DataError

#: Files in a test's folder.
PAGE, KEY, ANSWERS, DATABASE = "index.html", "key.json", "answers", "answers.sqlite"

Mode = Literal["rating", "comparison"]


@dataclass(frozen=True)
class Scale:
    """One question about a sound.

    Attributes:
        name: in answers and results.
        question: shown to the rater.
        low, high: ends of the scale; answers are the whole numbers between them.
        labels: what its equal parts mean, from the lowest up.
        level: of measurement, for the raters' agreement.
    """

    name: str
    question: str
    low: int
    high: int
    labels: tuple[str, ...]
    level: Literal["ordinal", "interval"]


#: The two questions of Bai et al., "ConsistencyTTA", 2024, https://arxiv.org/abs/2309.10740, section 4.2, with the
#: meaning of the grades after the authors' form, https://consistency-tta.github.io/evaluation.html; and the continuous
#: quality scale of Recommendation ITU-R BS.1534-3, 2015.
SCALES: dict[str, tuple[Scale, ...]] = {
    "rating": (
        Scale(
            "quality",
            "How good is the sound?",
            1,
            5,
            (
                "cannot be recognised at all",
                "unclear what it is",
                "clearly synthetic, but recognisable",
                "slightly synthetic",
                "excellent",
            ),
            "ordinal",
        ),
        Scale(
            "relevance",
            "How well does it fit the text?",
            1,
            5,
            (
                "not at all",
                "several parts missing, wrong or too many",
                "one part missing, wrong or too many",
                "slight mismatch, such as the order of events",
                "perfectly",
            ),
            "ordinal",
        ),
    ),
    "comparison": (
        Scale("score", "How good is it?", 0, 100, ("bad", "poor", "fair", "good", "excellent"), "interval"),
    ),
}


@dataclass(frozen=True)
class Item:
    """The origin of an item of the page.

    Attributes:
        system: that made the sound.
        clip: name of the clip.
        caption: of the clip.
    """

    system: str
    clip: str
    caption: str


@dataclass(frozen=True)
class Key:
    """A test's key.

    Attributes:
        test: identifier, different for every page.
        mode: of the test.
        systems: in the order given; an anchor comes last.
        reference: the system that was also shown openly, or None.
        items: by the random names that the page has.
        settings: that the page was made with.
    """

    test: str
    mode: Mode
    systems: tuple[str, ...]
    reference: str | None
    items: dict[str, Item]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The questions."""
        return SCALES[self.mode]

    def save(self, folder: Path) -> Path:
        """Write ``key.json``."""
        file = folder / KEY
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
        return file

    @classmethod
    def load(cls, folder: Path) -> Key:
        """Read ``key.json``.

        Raises:
            FileNotFoundError: there is none.
            DataError: it is not a key of a listening test.
        """
        file = folder / KEY
        if not file.is_file():
            raise FileNotFoundError(
                f"expected a folder that `consistency-tta listening-test` wrote, but no {file} is there"
            )
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            items = {name: Item(**item) for name, item in content.pop("items").items()}
            key = cls(items=items, systems=tuple(content.pop("systems")), **content)
            if key.mode not in SCALES or not {item.system for item in items.values()} <= set(key.systems):
                raise ValueError("unknown mode or system")
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{file} is not a key that `consistency-tta listening-test` wrote: {error!r}") from None
        return key
