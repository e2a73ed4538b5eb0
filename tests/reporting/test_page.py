"""Pages are one file, and show any text as text."""

from __future__ import annotations

from pathlib import Path

import jinja2
import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.reporting.data_uri import audio_uri
from consistency_tta.reporting.page import render_page
from consistency_tta.reporting.player import make_player
from consistency_tta.reporting.table import Cell, Table
from tests.reporting.pages import Reader, content_of
from tests.reporting.test_axes import FRONT_END

PAGE = """{% extends "base.html" %}
{% from "macros.html" import fact_list, player, table %}
{% block title %}{{ title }}{% endblock %}
{% block main %}{{ player(sound) }}{{ table(values) }}{{ fact_list(facts) }}{% endblock %}
"""
NASTY = 'a "dog" & <b>'


@pytest.fixture
def template(tmp_path: Path) -> Path:
    file = tmp_path / "page.html"
    file.write_text(PAGE)
    return file


def values() -> dict:
    sound = make_player(Cell(NASTY, NASTY, "a"), NASTY, torch.zeros(1600), 16000, torch.zeros(10, 4), FRONT_END, 0)
    table = Table([NASTY, Cell("value", "unit")], [[Cell(NASTY, NASTY), Cell("abc", code=True)]])
    return {"title": "A < B", "sound": sound, "values": table, "facts": {NASTY: NASTY}}


def test_a_page_is_one_file_and_shows_any_text(template: Path) -> None:
    html = render_page(template, **values())
    reader = Reader(html)
    assert len(reader.addresses) == 3
    assert all(address.startswith("data:") for address in reader.addresses)
    assert "http" not in html
    assert reader.text.count(NASTY) == 7
    assert [attributes for tag, attributes in reader.elements if tag == "b"] == [{"class": "head"}]
    labels = [attributes["data-label"] for tag, attributes in reader.elements if tag == "td"]
    assert labels == ["value"]
    assert "<title>A &lt; B</title>" in html
    assert "prefers-color-scheme: dark" in html


def test_a_value_that_is_missing_is_an_error(template: Path) -> None:
    incomplete = values()
    del incomplete["facts"]
    with pytest.raises(jinja2.UndefinedError, match="facts"):
        render_page(template, **incomplete)


def test_a_sound_keeps_16_bits() -> None:
    waveform = torch.rand(5000) * 2.2 - 1.1
    samples, rate = soundfile.read(content_of(audio_uri(waveform, 16000), "audio/flac"))
    assert rate == 16000
    np.testing.assert_allclose(samples, waveform.clamp(-1, 1), atol=1.1 / 32768)
