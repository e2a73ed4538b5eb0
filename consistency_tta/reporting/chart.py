"""Line charts as SVG: several panels and one legend, which need nothing but this text, in light and in dark.

The colours are those of ``page.css``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

#: Colours of page.css, one for each family of lines; and marks, one for each line of a family.
COLOURS, MARKS = ("a", "c", "d", "b"), ("circle", "square", "triangle", "diamond")
#: A panel, what is left of it for lines, and the columns of panels and legend.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, COLUMNS, ENTRY = 480, 330, 58, 22, 52, 46, 2, 22
#: Values on an axis: where from and to, and what is written there.
Axis = tuple[float, float, list[float]]


@dataclass(frozen=True)
class Line:
    """A line of a panel.

    Attributes:
        family: number of its colour.
        member: number of its mark and strength in the family.
        points: (x, y), joined in their order.
        labels: written beside each point; none if empty.
    """

    family: int
    member: int
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Panel:
    """A chart.

    Attributes:
        title, hint: above it.
        x, y: what the axes show.
        lines: to be drawn.
        logarithmic: whether the y axis is; values must be positive then.
    """

    title: str
    hint: str
    x: str
    y: str
    lines: Sequence[Line]
    logarithmic: bool = False


def chart(panels: Sequence[Panel], legend: Sequence[tuple[int, int, str]], description: str = "") -> str:
    """Panels in two columns, below a legend, as an SVG element.

    Args:
        panels: at least one.
        legend: (family, member, text) of each line.
        description: what the picture cannot show, in plain text; it goes wherever the file goes.
    """
    if not panels or not legend or not all(line.points for panel in panels for line in panel.lines):
        raise ValueError("expected at least one panel, one entry of the legend, and one point in each line")
    entries = -(-len(legend) // COLUMNS) * ENTRY + 20
    width, height = WIDTH * COLUMNS, entries + HEIGHT * -(-len(panels) // COLUMNS)
    texts = []
    for index, (family, member, text) in enumerate(legend):
        x, y = LEFT + (index % COLUMNS) * WIDTH, 24 + index // COLUMNS * ENTRY
        swatch = _line(family, member, [(x, y), (x + 36, y)], marks=[(x + 18, y)])
        texts.append(f'{swatch}<text x="{x + 46}" y="{y + 4}">{escape(text)}</text>')
    drawn = [
        f'<g transform="translate({index % COLUMNS * WIDTH} {entries + index // COLUMNS * HEIGHT})">{_panel(panel)}</g>'
        for index, panel in enumerate(panels)
    ]
    about = f"<desc>{escape(description)}</desc>" if description else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape("; ".join(panel.title for panel in panels), quote=True)}">{about}'
        f'<style>{_style()}</style><rect class="ground" width="{width}" height="{height}"/>'
        f"{''.join(texts)}{''.join(drawn)}</svg>"
    )


def linear_axis(values: Sequence[float]) -> Axis:
    """From the round number below all values to that above, with about five round steps."""
    low, high = min(values), max(values)
    if high == low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= (high - low) / 5 * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return first * step, last * step, [number * step for number in range(first, last + 1)]


def logarithmic_axis(values: Sequence[float]) -> Axis:
    """From the 1, 2 or 5 times a power of ten below all values to that above, with all between."""
    low, high = min(values), max(values)
    if low <= 0:
        raise ValueError(f"a logarithmic axis needs positive values, got {low}")
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    marks = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
    first = max(mark for mark in marks if mark <= low * (1 + 1e-9))
    last = min(mark for mark in marks if mark >= high * (1 - 1e-9) and mark > first)
    return first, last, [mark for mark in marks if first <= mark <= last]


def _panel(panel: Panel) -> str:
    points = [point for line in panel.lines for point in line.points]
    x_low, x_high, x_ticks = linear_axis([x for x, _ in points])
    y_low, y_high, y_ticks = (logarithmic_axis if panel.logarithmic else linear_axis)([y for _, y in points])
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(x: float) -> float:
        return LEFT + (right - LEFT) * (x - x_low) / (x_high - x_low)

    def up(y: float) -> float:
        value, low, high = (map(math.log10, (y, y_low, y_high))) if panel.logarithmic else (y, y_low, y_high)
        return bottom - (bottom - TOP) * (value - low) / (high - low)

    parts = [
        f'<text class="title" x="{LEFT}" y="18">{escape(panel.title)}</text>',
        f'<text class="small" x="{LEFT}" y="36">{escape(panel.hint)}</text>',
        f'<text class="small" x="{right}" y="{HEIGHT - 8}" text-anchor="end">{escape(panel.x)}</text>',
        f'<text class="small" transform="translate(14 {(TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(panel.y)}</text>",
    ]
    for y in y_ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {up(y):.1f}H{right}"/>')
        parts.append(f'<text class="small" x="{LEFT - 7}" y="{up(y) + 4:.1f}" text-anchor="end">{y:.4g}</text>')
    for x in x_ticks:
        parts.append(f'<path class="grid" d="M{across(x):.1f} {bottom}v5"/>')
        parts.append(f'<text class="small" x="{across(x):.1f}" y="{bottom + 19}" text-anchor="middle">{x:.4g}</text>')
    for line in panel.lines:
        places = [(across(x), up(y)) for x, y in line.points]
        parts.append(_line(line.family, line.member, places, places))
        for (x, y), label in zip(places, line.labels, strict=False):
            parts.append(
                f'<text class="label {_colour(line.family)}" x="{x + 7:.1f}" y="{y - 7:.1f}">{escape(label)}</text>'
            )
    return "".join(parts)


def _line(family: int, member: int, places: Sequence[tuple[float, float]], marks: Sequence[tuple[float, float]]) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    kind = MARKS[member % len(MARKS)]
    shapes = {
        "circle": "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
        "square": "m-3.6-3.6h7.2v7.2h-7.2z",
        "triangle": "m0-4.8l4.6 8.2h-9.2z",
        "diamond": "m0-5.2l5.2 5.2l-5.2 5.2l-5.2-5.2z",
    }
    drawn = "".join(f'<path class="mark" d="M{x:.1f} {y:.1f}{shapes[kind]}"/>' for x, y in marks)
    dashes = ("", ' stroke-dasharray="7 4"', ' stroke-dasharray="2 4"', ' stroke-dasharray="9 3 2 3"')
    return f'<g class="{_colour(family)}"><path class="line" d="M{path}"{dashes[member % len(dashes)]}/>{drawn}</g>'


def _colour(family: int) -> str:
    return COLOURS[family % len(COLOURS)]


def _style() -> str:
    """The page's colours, light and dark, and how they are used here."""
    page = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    colours = page[: page.index("* {")]
    used = "".join(f".chart .{name} {{ color: var(--{name}) }}" for name in COLOURS)
    return (
        colours
        + used
        + (
            ".chart { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif }"
            ".chart text { fill: var(--ink) } .chart .small { fill: var(--muted); font-size: 12px }"
            ".chart .title { font-size: 15px; font-weight: 600 }"
            ".chart .label { fill: currentColor; font-size: 11px }"
            ".chart .ground { fill: var(--card) } .chart .grid { stroke: var(--line); fill: none }"
            ".chart .line { stroke: currentColor; stroke-width: 2; fill: none; stroke-linejoin: round }"
            ".chart .mark { fill: var(--card); stroke: currentColor; stroke-width: 1.8 }"
        )
    )
