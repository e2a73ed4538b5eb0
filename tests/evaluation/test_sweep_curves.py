"""A sweep's curves: a line for each model and number of steps, in the order of the guidance scales."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from consistency_tta.evaluation.sweep.curves import group_lines, sweep_curves
from consistency_tta.evaluation.sweep.diversity_panels import _error


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


def points(text: str, panel: int) -> dict[str, list[tuple[float, float]]]:
    """Where the labelled points of a panel are, x and y in the picture's units, by their labels."""
    found: dict[str, list[tuple[float, float]]] = {}
    svg = "{http://www.w3.org/2000/svg}"
    for group in ElementTree.fromstring(text).iter(f"{svg}g"):
        if group.get("id") == f"axes_{panel}":
            for label in group.iter(f"{svg}text"):
                if (label.text or "").startswith("w "):
                    place = float(label.get("x") or "nan"), float(label.get("y") or "nan")
                    found.setdefault(label.text or "", []).append(place)
    return found


def test_quality_is_drawn_against_diversity_with_a_point_for_each_setting() -> None:
    student = [row("student", 1, w, diversity=2.7 - 0.1 * w, diversity_low=2.0, diversity_high=3.0) for w in (1, 3, 5)]
    teacher = row("teacher", 50, 7.0, queries=100, solver="DDIM", diversity=2.65, frechet_low=5.0, frechet_high=7.0)
    unknown = row("other", 1, 9.0, diversity=None)
    text = sweep_curves([*student, teacher, unknown], {})
    texts = [one.text for one in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert sum("diversity within a caption" in (one or "") for one in texts) == 2
    assert sum(one == "star: teacher" for one in texts) == 2
    for panel, lower_is_up in ((5, True), (6, False)):
        found = points(text, panel)
        assert {label: len(places) for label, places in found.items()} == {"w 1": 1, "w 3": 1, "w 5": 1, "w 7": 1}
        [one], [three], [five] = found["w 1"], found["w 3"], found["w 5"]
        assert one[0] > three[0] > five[0]  # less diverse with more guidance
        assert one[0] - three[0] == pytest.approx(three[0] - five[0], abs=0.01)
        # The toy's distance does not depend on w; its score rises with it, and y runs down.
        assert (one[1] == pytest.approx(five[1], abs=0.01)) if lower_is_up else one[1] > five[1]


def test_error_bars_reach_from_low_to_high_and_never_beyond_the_value() -> None:
    point = {"diversity": 2.0, "diversity_low": 1.5, "diversity_high": 2.25, "clap": 0.5, "clap_low": 0.6}
    assert _error(point, "diversity") == [[0.5], [0.25]]
    assert _error(point, "clap") is None
    assert _error(point | {"clap_high": 0.75}, "clap") == [[0.0], [0.25]]


@pytest.mark.parametrize("seconds", [0.001, 0.3, 0.49, 70.0])
def test_a_single_point_has_a_labelled_axis_of_seconds(seconds: float) -> None:
    texts = [
        text.text
        for text in ElementTree.fromstring(sweep_curves([row("m", 1, 1.0, seconds=seconds)], {})).iter()
        if text.tag.endswith("text")
    ]
    near = [f"{factor * 10.0**power:g}" for power in range(-4, 3) for factor in (1, 2, 5)]
    assert any(text in near and seconds / 2 <= float(text or 0) <= 2 * seconds for text in texts)
