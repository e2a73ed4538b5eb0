"""A sweep's curves: a line for each model and number of steps, in the order of the guidance scales."""

from __future__ import annotations

import itertools
from typing import Any
from xml.etree import ElementTree

import pytest

from consistency_tta.evaluation.sweep.curves import group_lines, sweep_curves
from consistency_tta.evaluation.sweep.line import errors
from consistency_tta.evaluation.sweep.point_labels import CHARACTER, FONT, PANEL, label_points
from consistency_tta.reporting.figure import new_figure


def row(model: str, steps: int, scale: float, **more: Any) -> dict[str, Any]:
    known = {"queries": steps, "external_guidance_scale": 1.0, "seed": 0, "seconds": 0.1 * steps}
    values = {
        "clap": 0.7 + 0.01 * scale,
        "frechet": 11 - 0.1 * steps,
        "clap_network": "a/clap",
        "frechet_network": "mn04",
    }
    return {"model": model, "steps": steps, "guidance_scale": scale, **known, **values, **more}


ROWS = [row("student", steps, scale) for steps in (2, 1) for scale in (3.0, 1.0)] + [row("teacher & <b>", 10, 1.0)]


def test_lines_share_a_models_colour_and_have_marks_of_their_own() -> None:
    first, second, teacher = group_lines(ROWS)
    assert [line.label for line in (first, second)] == ["student, 1 step, 1 query", "student, 2 steps, 2 queries"]
    assert [one["guidance_scale"] for one in first.rows] == [1, 3]
    assert first.style["color"] == second.style["color"] != teacher.style["color"]
    assert first.style["marker"] != second.style["marker"]


def test_a_setting_that_varies_is_in_the_labels() -> None:
    lines = group_lines([row("student", 1, 1.0, seed=seed) for seed in (0, 1)])
    assert [line.label for line in lines] == [f"student, 1 step, 1 query, seed {seed}" for seed in (0, 1)]


def test_the_picture_has_four_panels_and_its_facts() -> None:
    root = ElementTree.fromstring(sweep_curves(ROWS, {"Seed": "0 & 1"}))
    assert len([g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("id", "").startswith("axes_")]) == 4
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "teacher & <b>, 10 steps, 10 queries" in texts
    assert "Text fit, by clap" in texts
    assert {text for text in texts if text in ("0.1", "0.2", "0.5", "1", "2")} >= {"0.1", "1"}  # seconds
    assert [text.text for text in root.iter("{http://purl.org/dc/elements/1.1/}description")] == ["Seed: 0 & 1"]


def test_quality_is_drawn_against_diversity_with_a_point_for_each_setting() -> None:
    student = [row("student", 1, w, diversity=2.7 - 0.1 * w, diversity_low=2.0, diversity_high=3.0) for w in (1, 3, 5)]
    teacher = row("teacher", 50, 7.0, queries=100, solver="DDIM", diversity=2.65, frechet_low=5.0, frechet_high=7.0)
    unknown = row("other", 1, 9.0, diversity=None)
    text = sweep_curves([*student, teacher, unknown], {})
    texts = [one.text for one in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert sum("diversity within a caption" in (one or "") for one in texts) == 2
    assert sum(one == "star: teacher" for one in texts) == 2
    assert [texts.count(f"w {w}") for w in (1, 3, 5, 7, 9)] == [2, 2, 2, 2, 0]


def test_labels_of_points_overlap_nothing_and_are_left_out_in_a_crowd() -> None:
    with new_figure(4, 3) as figure:
        axes = figure.subplots()
        crowd = [(0.5 + 0.01 * (i % 9), 0.5 + 0.01 * (i // 9)) for i in range(81)]
        axes.plot(*zip((0, 0), (1, 1), *crowd, strict=True), "o")
        label_points(axes, [(0, 0, "w 1"), (1, 1, "w 2"), *((x, y, "w 3") for x, y in crowd)])
    texts = [text.get_text() for text in axes.texts]
    assert texts[:2] == ["w 1", "w 2"]
    assert 0 < texts.count("w 3") < 40
    boxes = []
    for text in axes.texts:
        x, y = (float(one) * size for one, size in zip(axes.transLimits.transform(text.xy), PANEL, strict=True))
        dx, dy = text.get_position()
        boxes.append((x + dx, y + dy, x + dx + CHARACTER * 3, y + dy + FONT))
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_values_with_intervals_have_bars_in_the_other_panels() -> None:
    plain = sweep_curves([row("student", 1, w) for w in (1.0, 2.0)], {})
    bars = sweep_curves([row("student", 1, w, clap_low=0.6, clap_high=0.8) for w in (1.0, 2.0)], {})
    assert len(bars) > len(plain)
    assert plain.count("LineCollection") == 0
    assert bars.count("LineCollection") == 3  # text fit, the trade-off, and the legend


def test_error_bars_reach_from_low_to_high_and_never_beyond_the_value() -> None:
    point = {"diversity": 2.0, "diversity_low": 1.5, "diversity_high": 2.25, "clap": 0.5, "clap_low": 0.6}
    assert errors([point], "diversity") == [[0.5], [0.25]]
    assert errors([point], "clap") is None
    whole = point | {"clap_high": 0.75}
    assert errors([whole, point], "clap") == [[0.0, 0.0], [0.25, 0.0]]


@pytest.mark.parametrize("seconds", [0.001, 0.3, 0.49, 70.0])
def test_a_single_point_has_a_labelled_axis_of_seconds(seconds: float) -> None:
    texts = [
        text.text
        for text in ElementTree.fromstring(sweep_curves([row("m", 1, 1.0, seconds=seconds)], {})).iter()
        if text.tag.endswith("text")
    ]
    near = [f"{factor * 10.0**power:g}" for power in range(-4, 3) for factor in (1, 2, 5)]
    assert any(text in near and seconds / 2 <= float(text or 0) <= 2 * seconds for text in texts)
