"""Labels of points that overlap neither each other nor other points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Size of a panel's inner area in points, about that of :func:`~consistency_tta.evaluation.sweep.curves.sweep_curves`.
PANEL = (290.0, 190.0)
#: Size of a label's font, and width of a character, in points.
FONT, CHARACTER = 7.0, 4.2
#: Distance that a point's mark keeps free around it, in points.
MARK = 3.0

#: Left, bottom, right and top in points.
Box = tuple[float, float, float, float]


def label_points(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write a label next to each point (x, y, text), where there is room for it; in a crowd some have none.

    Args:
        axes: with all points drawn, whose limits no longer change.
        points: in the units of the axes.
    """
    places = [axes.transLimits.transform((x, y)) for x, y, _ in points]
    centres = [(float(x) * PANEL[0], float(y) * PANEL[1]) for x, y in places]
    taken: list[Box] = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in centres]
    for (x, y, text), (left, bottom) in zip(points, centres, strict=True):
        width = CHARACTER * len(text)
        for dx, dy in _offsets(width):
            box = (left + dx, bottom + dy, left + dx + width, bottom + dy + FONT)
            if _inside(box) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(text, (x, y), (dx, dy), textcoords="offset points", fontsize=FONT)
                break


def _offsets(width: float) -> Iterator[tuple[float, float]]:
    """Places of a label's lower left corner, from the point, the best first: right, left, above and below."""
    for gap in (4.0, 8.0):
        right, left, above, below = gap, -gap - width, gap, -gap - FONT
        yield from ((right, above), (right, below), (left, above), (left, below))
        yield from ((right, -FONT / 2), (left, -FONT / 2), (-width / 2, above + 2), (-width / 2, below - 2))


def _inside(box: Box) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= PANEL[0] and box[3] <= PANEL[1]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
