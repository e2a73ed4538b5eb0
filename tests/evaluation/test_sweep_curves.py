"""A sweep's curves: a line for each model and number of steps, in the order of the guidance scales."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from consistency_tta.evaluation.sweep.curves import group_lines, sweep_curves


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


@pytest.mark.parametrize("seconds", [0.001, 0.3, 0.49, 70.0])
def test_a_single_point_has_a_labelled_axis_of_seconds(seconds: float) -> None:
    texts = [
        text.text
        for text in ElementTree.fromstring(sweep_curves([row("m", 1, 1.0, seconds=seconds)], {})).iter()
        if text.tag.endswith("text")
    ]
    near = [f"{factor * 10.0**power:g}" for power in range(-4, 3) for factor in (1, 2, 5)]
    assert any(text in near and seconds / 2 <= float(text or 0) <= 2 * seconds for text in texts)
