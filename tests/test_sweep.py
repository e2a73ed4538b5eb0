"""A sweep makes a folder for each combination, scores what is in it, and draws all models; again, it makes nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

from consistency_tta.cli import main
from consistency_tta.evaluation.networks import checksum_of
from consistency_tta.generate import generate
from consistency_tta.rewards import Rewards
from consistency_tta.sweep import judge
from consistency_tta.sweep.judge import Judge
from consistency_tta.sweep.run import parse_sweep
from tests.bundles import write_clap, write_real_clips, write_student


def test_values_are_of_the_settings_kind() -> None:
    grid = parse_sweep(["guidance_scale=1,2.5", "steps=1,4", "seed=3"])
    assert grid == {"guidance_scale": [1.0, 2.5], "steps": [1, 4], "seed": [3]}
    assert [type(value) for values in grid.values() for value in values] == [float, float, int, int, int]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["guidance=1"], "over guidance_scale, steps, seed, external_guidance_scale, got 'guidance=1'"),
        (["steps"], "expected a sweep such as guidance_scale=1,2,3, .* got 'steps'"),
        (["steps=1,2.5"], "expected int values with commas between, got 'steps=1,2.5'"),
        (["steps="], "expected int values with commas between, got 'steps='"),
        (["guidance_scale=a"], "expected float values with commas between, got 'guidance_scale=a'"),
        (["steps=1,1"], "each of its values once, got 'steps=1,1'"),
        (["steps=1", "steps=2"], "each setting and each of its values once, got 'steps=2'"),
    ],
)
def test_a_sweep_that_cannot_be_understood_is_named(settings: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_sweep(settings)


def test_a_judge_without_what_it_needs_is_named_beforehand(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"judge\.real, a folder of recordings, beside judge\.tagger"):
        Judge(tagger=tmp_path / "x").check()
    with pytest.raises(FileNotFoundError, match=r"the tagger's weights, but there is no .*x"):
        Judge(real=tmp_path, tagger=tmp_path / "x").check()
    with pytest.raises(FileNotFoundError, match=r"at least 2 recordings .* got 0"):
        Judge(real=tmp_path).check()


def spoil_nothing(folder: Path) -> None:
    (folder / "1.wav").touch()


def spoil_finite(folder: Path) -> None:
    soundfile.write(folder / "1.wav", np.r_[np.zeros(4000), np.nan], 16000, subtype="FLOAT")


@pytest.mark.parametrize(("spoil", "said"), [(spoil_nothing, "unreadable: "), (spoil_finite, "not finite: 1 samples")])
def test_a_recording_that_cannot_be_used_is_named_before_anything_is_made(
    spoil: Callable[[Path], None], said: str, teacher_folder: Path, tmp_path: Path
) -> None:
    write_clap(tmp_path / "clap")
    (tmp_path / "real").mkdir()
    for name in ("0.wav", "2.wav"):
        soundfile.write(tmp_path / "real" / name, np.full(5000, 0.1), 16000)
    spoil(tmp_path / "real")
    (tmp_path / "captions.csv").write_text("id,caption\nx,rain\ny,a dog\n")
    command = ["generate", "--captions", str(tmp_path / "captions.csv"), "--output", str(tmp_path / "out")]
    command += ["--model", str(teacher_folder), "--sweep", "steps=1", "--judge.clap", str(tmp_path / "clap")]
    with pytest.raises(SystemExit, match=rf"error: expected recordings .* 1 of 3 that cannot, 1\.wav \({said}"):
        main([*command, "--judge.real", str(tmp_path / "real"), "--device", "cpu"])
    assert not (tmp_path / "out").exists()


def test_a_recording_that_is_too_short_for_the_tagger_is_named_beforehand(tmp_path: Path) -> None:
    for number, samples in enumerate((512, 400, 16000)):
        soundfile.write(tmp_path / f"{number}.wav", np.full(samples, 0.1), 16000)
    (tmp_path / "tagger.pt").touch()
    with pytest.raises(ValueError, match=r"1 of 3 that cannot, 1\.wav \(too short: 0.025 s, .* 0.032 s"):
        Judge(real=tmp_path, tagger=tmp_path / "tagger.pt").check()
    Judge(real=tmp_path).check()


def test_other_recordings_in_the_same_place_are_another_judge(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "tagger.pt").write_bytes(b"one")
    seen = []
    for change in (lambda: None, lambda: None, lambda: (tmp_path / "tagger.pt").write_bytes(b"other")):
        change()
        seen.append(Judge(real=tmp_path / "real", tagger=tmp_path / "tagger.pt").facts)
    for level in (0.1, 0.2):
        soundfile.write(tmp_path / "real" / "x.wav", np.full(10, level), 16000)
        seen.append(Judge(real=tmp_path / "real", tagger=tmp_path / "tagger.pt").facts)
    assert seen[0] == seen[1]
    assert len({json.dumps(facts) for facts in seen}) == 4


def test_two_models_are_swept_into_one_picture(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_student(teacher_folder, tmp_path / "student")
    write_clap(tmp_path / "clap")
    write_real_clips(tmp_path / "clap")
    captions, output = tmp_path / "captions.csv", tmp_path / "sweep"
    captions.write_text("id,caption\nx,rain\ny,a dog\n")
    index = tmp_path / "student" / "model_index.json"
    rewards = {"rewards": Rewards((checksum_of(str(tmp_path / "clap")),)).tree()}
    index.write_text(json.dumps(json.loads(index.read_text()) | rewards))
    monkeypatch.setattr(judge, "TIMED", 1)
    command = ["generate", "--captions", str(captions), "--output", str(output), "--device", "cpu"]
    command += ["--judge.clap", str(tmp_path / "clap")]
    main([*command, "--model", str(teacher_folder), "--sweep", "guidance_scale=1,3", "steps=2"])
    student = [*command, "--model", str(tmp_path / "student"), "--sweep", "guidance_scale=1,3", "steps=1"]
    table, picture, page = main(student)

    rows = list(csv.DictReader(table.open(newline="")))
    asked = {(Path(row["model"]).name, row["guidance_scale"], row["steps"], row["queries"]) for row in rows}
    assert asked == {
        ("teacher", "1.0", "2", "2"),
        ("teacher", "3.0", "2", "4"),
        ("student", "1.0", "1", "1"),
        ("student", "3.0", "1", "1"),
    }
    assert all(
        -1 <= float(row["clap"]) <= 1 and float(row["frechet"]) > 0 and float(row["seconds"]) > 0 for row in rows
    )
    assert len(list(output.glob("*/guidance_scale-*_steps-*/[xy].wav"))) == 8
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    lines = [path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("class") == "line"]
    assert len(lines) == 2 + 4 * 2  # the legend's, and those of four panels
    html = page.read_text(encoding="utf-8")
    assert picture.read_text(encoding="utf-8").strip() in html
    assert f"taught {tmp_path / 'student'}, as a reward" in html
    assert f"taught {teacher_folder}" not in html

    # Again: nothing is made, heard or timed. A score that is lost is found again from the sounds.
    scores = {file: file.read_bytes() for file in output.rglob("scores.json")}
    lost = next(iter(scores))
    lost.unlink()
    capsys.readouterr()
    main(student if "student" in str(lost) else [*command, "--model", str(teacher_folder), *student[-3:-1], "steps=2"])
    assert "all 4 sounds are there" in capsys.readouterr().out
    again, before = json.loads(lost.read_text()), json.loads(scores[lost])
    assert again["seconds"] > 0
    assert again | {"seconds": 0} == before | {"seconds": 0}
    assert all(file.read_bytes() == content for file, content in scores.items() if file != lost)

    # Other captions are not drawn along with these.
    captions.write_text("id,caption\nx,rain\ny,a cat\n")
    with pytest.raises(SystemExit, match=r"captions .* instead of"):
        main(student)
    main([*student[:-3], "--sweep", "seed=1"])
    assert "left out, as of other captions" in capsys.readouterr().out
    assert len(list(csv.DictReader(table.open(newline="")))) == 1


def test_recordings_of_any_length_and_rate_are_a_reference(teacher_folder: Path, tmp_path: Path) -> None:
    write_clap(tmp_path / "clap")
    (tmp_path / "real").mkdir()
    for number, rate in enumerate((16000, 16000, 8000)):
        noise = 0.1 * np.random.default_rng(number).standard_normal((rate + number, 2))
        soundfile.write(tmp_path / "real" / f"{number}.wav", noise, rate)
    captions = tmp_path / "captions.csv"
    captions.write_text("id,caption\nx,rain\ny,a dog\n")
    judge = Judge(str(tmp_path / "clap"), tmp_path / "real")
    settings = {"captions": captions, "judge": judge, "sweep": ["steps=1"], "device": "cpu"}
    table, *_ = generate([], str(teacher_folder), tmp_path / "out", **settings)
    [row] = csv.DictReader(table.open(newline=""))
    assert float(row["frechet"]) > 0
