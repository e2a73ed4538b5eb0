"""Figures are in the page's colours; without matplotlib the error says so."""

from __future__ import annotations

import io
import re
import sys
from xml.etree import ElementTree

import pytest
from PIL import Image

from consistency_tta.reporting.figure import inline_svg, new_figure, page_colours, png, svg
from consistency_tta.runtime.errors import MissingExtraError


def drawn(text: str = "") -> str:
    with new_figure(3, 2) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [1, 2], color=page_colours()["a"])
        axes.set_title(text)
        return svg(figure, 'p < "q" & r')


def test_the_file_is_xml_with_its_description_and_always_the_same() -> None:
    root = ElementTree.fromstring(drawn("a < b"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert [text.text for text in root.iter("{http://purl.org/dc/elements/1.1/}description")] == ['p < "q" & r']
    assert "a < b" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert drawn() == drawn()


def test_the_element_of_a_page_has_the_pages_colours() -> None:
    element = inline_svg(drawn("<script>"))
    ElementTree.fromstring(element)
    assert "<script>" not in element
    assert set(re.findall(r"var\(--(\w+)\)", element)) >= {"ink", "muted", "line", "card"}
    assert "#" not in re.sub(r'url\(#\w+\)|href="#\w+"', "", element)  # no colour that a dark page would keep


def test_a_picture_has_the_size_that_was_specified() -> None:
    with new_figure(3, 2) as figure:
        figure.subplots()
    assert Image.open(io.BytesIO(png(figure))).size == (300, 200)


def test_without_matplotlib_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="matplotlib"), new_figure(1, 1):
        pass
