"""Tables of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A cell that has more than plain text.

    Attributes:
        text: of the cell.
        detail: a second line, smaller.
        colour: class of a coloured dot before the text; ``page.css`` has ``a`` to ``d``, ``best`` and ``worst``.
        code: whether the text is set in a monospaced font.
    """

    text: str
    detail: str = ""
    colour: str = ""
    code: bool = False


@dataclass(frozen=True)
class Table:
    """A table; on a narrow screen each row becomes a card.

    Attributes:
        heads: of the columns.
        rows: as many cells as there are heads; the first one is the row's head.
        kind: class in ``page.css``: ``plain`` aligns text to the left, ``metrics`` does not indent details.
    """

    heads: Sequence[str | Cell]
    rows: Sequence[Sequence[str | Cell]]
    kind: str = ""
