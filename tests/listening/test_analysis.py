"""Simulated raters whose opinions are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consistency_tta.cli import main
from consistency_tta.listening import analyse
from consistency_tta.listening.answers import Answers, Rated
from consistency_tta.listening.key import Item, Key
from consistency_tta.listening.statistics import statistics
from consistency_tta.runtime.errors import ConfigurationError, DataError, MissingExtraError
from tests.listening.noise import answers, write

GOODNESS = {"bad": 2.0, "same": 3.5, "also": 3.5}


def key(mode: Any = "rating", reference: str | None = None, clips: int = 8) -> Key:
    pairs = [(system, str(clip)) for clip in range(clips) for system in GOODNESS]
    items = {f"item{number}": Item(system, clip, f"clip {clip}") for number, (system, clip) in enumerate(pairs)}
    return Key("abc", mode, tuple(GOODNESS), reference, items)


def simulated(folder: Path, raters: int = 7, seed: int = 0) -> Path:
    """Answers of raters who agree up to noise, each with a leaning."""
    random, test = np.random.default_rng(seed), key()
    test.save(folder)
    clip_effect = random.normal(0, 0.5, 8)

    def opinion(leaning: float) -> Any:
        return lambda item: int(
            np.clip(round(GOODNESS[item.system] + leaning + clip_effect[int(item.clip)] + random.normal(0, 0.5)), 1, 5)
        )

    several = [answers(test, f"rater {n}", quality=opinion(random.normal(0, 0.3)), relevance=3) for n in range(raters)]
    write(folder, *several)
    return folder


def test_means_differences_and_agreement(tmp_path: Path) -> None:
    result = analyse(simulated(tmp_path), draws=2000)
    quality = result["scales"]["quality"]
    systems = quality["systems"]
    given = [json.loads(file.read_text())["items"] for file in (tmp_path / "answers").iterdir()]
    bad = [
        one[name]["scores"]["quality"] for one in given for name, item in key().items.items() if item.system == "bad"
    ]
    assert systems["bad"]["mean"] == pytest.approx(np.mean(bad))
    assert systems["bad"]["ratings"] == 56
    assert systems["bad"]["low"] < systems["bad"]["mean"] < systems["bad"]["high"] < systems["same"]["low"]
    pairs = {tuple(pair["systems"]): pair for pair in quality["differences"]}
    clear, none = pairs["bad", "same"], pairs["same", "also"]
    assert clear["mean"] == pytest.approx(systems["bad"]["mean"] - systems["same"]["mean"])
    assert clear["high"] < 0
    assert clear["p_raters"] == 2 / 2**7  # all seven agree
    assert clear["p_clips"] == 2 / 2**8
    assert clear["p"] == pytest.approx(3 * 2 / 2**7)
    assert none["low"] < 0 < none["high"]
    assert none["p"] > 0.05
    assert 0.4 < quality["alpha"] < 1
    # The leaning of a rater is in the means, not in the differences of what the same rater said.
    assert clear["high"] - clear["low"] < systems["bad"]["high"] - systems["bad"]["low"] + 0.3
    written = json.loads((tmp_path / "analysis.json").read_text())
    assert written["scales"]["quality"]["systems"] == systems
    assert written["scales"]["relevance"]["alpha"] is None  # all said 3: not defined, and JSON has no NaN
    text = (tmp_path / "analysis.md").read_text()
    assert f"| bad | {systems['bad']['mean']:.2f} |" in text
    assert "Agreement of the raters (ordinal alpha): not defined" in text


def test_two_systems_that_are_alike_differ_by_chance_as_often_as_they_may() -> None:
    random, test = np.random.default_rng(0), key()
    found = 0
    for _ in range(40):
        several = [
            Answers(
                f"rater {n}",
                "",
                {name: Rated({"quality": int(random.integers(1, 6)), "relevance": 1}, 1) for name in test.items},
            )
            for n in range(8)
        ]
        result = statistics(several, test, test.scales[0], 100, 0)
        found += any(pair["p"] <= 0.05 for pair in result["differences"])
    assert found <= 0.1 * 40


def test_raters_who_fail_are_listed_and_left_out_if_asked(tmp_path: Path) -> None:
    test = key("comparison", reference="same")
    test.save(tmp_path)
    fine = answers(test, "Fine", score=lambda item: 95 if item.system == "same" else 20)
    deaf = answers(test, "Deaf", score=lambda item: 80 if item.system == "same" and int(item.clip) < 2 else 90)
    once = answers(test, "Once", score=lambda item: 80 if item.system == "same" and int(item.clip) < 1 else 90)
    hasty = answers(test, "Hasty", score=lambda item: 90 + int(item.clip))
    hasty["items"] = {name: item | {"plays": 0} for name, item in list(hasty["items"].items())[:5]}
    lazy = answers(test, "Lazy", score=100)
    write(tmp_path, fine, deaf, once, hasty, lazy)
    result = analyse(tmp_path, draws=100)
    failed = {(failure["rater"], failure["check"]): failure["detail"] for failure in result["failures"]}
    assert failed == {
        ("Deaf", "hidden reference"): "less than 90 in 2 of 8 comparisons",
        ("Hasty", "incomplete"): "19 of 24 sounds are not rated",
        ("Hasty", "not played"): "5 of 5 rated sounds were never played to the end",
        ("Lazy", "one value"): "score is 100 for all 24 sounds",
    }
    assert len(result["raters"]) == 5
    result = analyse(tmp_path, draws=100, exclude_failing=True)
    assert result["raters"] == ["Fine", "Once"]
    assert result["excluded"] == ["Deaf", "Hasty", "Lazy"]
    assert "- Deaf: hidden reference" in (tmp_path / "analysis.md").read_text()


def test_missing_ratings_are_missing_and_not_zero(tmp_path: Path) -> None:
    test = key()
    test.save(tmp_path)
    half = answers(test, "Half", quality=4)
    half["items"] = {name: item for name, item in half["items"].items() if test.items[name].system != "bad"}
    write(tmp_path, half)
    quality = analyse(tmp_path, draws=100)["scales"]["quality"]
    assert quality["systems"]["same"]["mean"] == 4
    assert quality["systems"]["bad"]["ratings"] == 0
    assert [pair["systems"] for pair in quality["differences"]] == [["same", "also"]]
    assert json.loads((tmp_path / "analysis.json").read_text())["scales"]["quality"]["systems"]["bad"]["mean"] is None


def test_names_from_outside_are_text_in_the_report(tmp_path: Path) -> None:
    test = key()
    test.save(tmp_path)
    write(tmp_path, answers(test, "<b>|[x](javascript:y)"))
    analyse(tmp_path, draws=100)
    assert "\\<b\\>\\|\\[x\\](javascript:y): one value" in (tmp_path / "analysis.md").read_text()


def test_without_answers_there_is_nothing_to_analyse(tmp_path: Path) -> None:
    key().save(tmp_path)
    with pytest.raises(DataError, match="abc"):
        analyse(tmp_path)
    write(tmp_path, answers(key()) | {"test": "another"})
    with pytest.raises(DataError, match="another"):
        analyse(tmp_path)
    with pytest.raises(ConfigurationError, match="5"):
        analyse(tmp_path, draws=5)


@pytest.mark.parametrize("package", ["scipy.stats", "krippendorff"])
def test_without_the_extra_nothing_is_written(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = simulated(tmp_path, raters=2)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=package.partition(".")[0]):
        analyse(folder)
    assert not (folder / "analysis.json").exists()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = simulated(tmp_path, raters=3)
    extra = tmp_path / "extra.json"
    extra.write_text(json.dumps(answers(key(), "Zoe")))
    result = main(
        ["listening-test", "analyse", str(folder), str(extra), "--draws", "100", "--output", str(tmp_path / "x")]
    )
    assert result["raters"] == ["Zoe", "rater 0", "rater 1", "rater 2"]
    assert "# Listening test abc" in capsys.readouterr().out
    assert (tmp_path / "x" / "analysis.md").is_file()
    with pytest.raises(SystemExit, match=r"key\.json"):
        main(["listening-test", "serve", str(tmp_path / "x")])
