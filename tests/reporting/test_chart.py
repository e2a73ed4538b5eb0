"""Points lie where their values are, axes are round, and the text is well-formed XML."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from consistency_tta.reporting.chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Line,
    Panel,
    chart,
    linear_axis,
    logarithmic_axis,
)

SVG = "{http://www.w3.org/2000/svg}"


def drawn(panel: Panel) -> list[list[tuple[float, float]]]:
    """Coordinates of each line of a panel, from 0, left or bottom, to 1."""
    root = ElementTree.fromstring(chart([panel], [(0, 0, "one")]))
    paths = [path.get("d") for path in root.findall(f"{SVG}g/{SVG}g/{SVG}path[@class='line']")]
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return [
        [
            ((float(x) - LEFT) / width, (HEIGHT - BOTTOM - float(y)) / height)
            for x, y in re.findall(r"([\d.]+) ([\d.]+)", d)
        ]
        for d in paths
    ]


def test_points_lie_where_their_values_are() -> None:
    lines = [Line(0, 0, [(0, 0), (5, 1), (10, 4)]), Line(1, 1, [(2, 3)])]
    first, second = drawn(Panel("", "", "", "", lines))
    np.testing.assert_allclose(first, [(0, 0), (0.5, 0.25), (1, 1)], atol=1e-3)
    np.testing.assert_allclose(second, [(0.2, 0.75)], atol=1e-3)
    [line] = drawn(Panel("", "", "", "", [Line(0, 0, [(0, 0.1), (1, 1), (2, 10)])], logarithmic=True))
    np.testing.assert_allclose(line, [(0, 0), (0.5, 0.5), (1, 1)], atol=1e-3)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([1, 6], [1, 2, 3, 4, 5, 6]),
        ([0.31, 0.52], [0.3, 0.35, 0.4, 0.45, 0.5, 0.55]),
        ([-1, 1], [-1, -0.5, 0, 0.5, 1]),
        ([3, 3], [1, 2, 3, 4, 5]),
        ([0], [-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6]),
    ],
)
def test_linear_axes_are_round_and_hold_all_values(values: list[float], ticks: list[float]) -> None:
    low, high, found = linear_axis(values)
    assert found == pytest.approx(ticks)
    assert (low, high) == (found[0], found[-1])
    assert low <= min(values) <= max(values) <= high


def test_logarithmic_axes_go_in_1_2_5() -> None:
    assert logarithmic_axis([0.03, 0.7]) == (0.02, 1.0, pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5, 1]))
    assert logarithmic_axis([0.2, 0.2]) == (0.2, 0.5, pytest.approx([0.2, 0.5]))
    with pytest.raises(ValueError, match="needs positive values, got 0"):
        logarithmic_axis([0, 1])


def test_a_chart_is_xml_in_the_pages_colours_whatever_it_says() -> None:
    panel = Panel('a < "b"', "&", "<x>", "y", [Line(0, 0, [(1, 1), (2, 2)], ["<w>", ""])])
    root = ElementTree.fromstring(chart([panel], [(0, 0, "m & n"), (3, 2, "o")], "p < q"))
    assert root.findtext("{http://www.w3.org/2000/svg}desc") == "p < q"
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {'a < "b"', "&", "<x>", "<w>", "m & n", "o"} <= set(texts)
    style = root.find(f"{SVG}style").text
    assert "prefers-color-scheme: dark" in style
    assert set(re.findall(r"var\((--\w+)\)", style)) <= set(re.findall(r"(--\w+):", style))
    with pytest.raises(ValueError, match="at least one panel, one entry of the legend, and one point"):
        chart([Panel("", "", "", "", [Line(0, 0, [])])], [(0, 0, "")])
