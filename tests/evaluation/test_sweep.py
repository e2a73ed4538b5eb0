"""A sweep generates a folder for each combination, scores it, and draws all models; again, it generates nothing."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.audio.recordings import read_recording
from consistency_tta.cli import main
from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.evaluation import networks
from consistency_tta.evaluation.evaluate import evaluate
from consistency_tta.evaluation.protocol import RESAMPLER
from consistency_tta.evaluation.reference_statistics import REAL_CLIPS
from consistency_tta.evaluation.sweep.command import parse_settings, sweep
from consistency_tta.evaluation.sweep.options import EvaluatorOptions
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.storage.checksum import checksum
from tests.bundles import write_clap, write_real_clips, write_student
from tests.evaluation.cases import ToyNetwork, write_protocol, write_sounds


def test_values_are_of_the_settings_kind() -> None:
    grid = parse_settings(["guidance_scale=1,2.5", "steps=1,4", "seed=3"])
    assert grid == {"guidance_scale": [1.0, 2.5], "steps": [1, 4], "seed": [3]}
    assert [type(value) for values in grid.values() for value in values] == [float, float, int, int, int]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["guidance=1"], "'guidance=1'"),
        (["steps"], "'steps'"),
        (["steps=1,2.5"], "'steps=1,2.5'"),
        (["steps="], "'steps='"),
        (["guidance_scale=a"], "'guidance_scale=a'"),
        (["steps=1,1"], "'steps=1,1'"),
        (["steps=1", "steps=2"], "'steps=2'"),
    ],
)
def test_settings_that_cannot_be_understood_are_named(settings: list[str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        parse_settings(settings)


def test_an_evaluator_without_what_it_needs_is_refused_before_generation(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"evaluator\.tagger"):
        EvaluatorOptions(tagger=tmp_path / "x").check(tmp_path / "captions.csv")
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "x")):
        EvaluatorOptions(real=tmp_path, tagger=tmp_path / "x").check(tmp_path / "captions.csv")
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        EvaluatorOptions(real=tmp_path).check(tmp_path / "captions.csv")


def write_empty_file(folder: Path) -> None:
    (folder / "1.wav").touch()


def write_nan(folder: Path) -> None:
    soundfile.write(folder / "1.wav", np.r_[np.zeros(4000), np.nan], 16000, subtype="FLOAT")


@pytest.mark.parametrize(("spoil", "named"), [(write_empty_file, "unreadable"), (write_nan, "not finite")])
def test_a_recording_that_cannot_be_used_is_named_before_generation(
    spoil: Callable[[Path], None], named: str, teacher_folder: Path, tmp_path: Path
) -> None:
    write_clap(tmp_path / "clap")
    (tmp_path / "real").mkdir()
    for name in ("0.wav", "2.wav"):
        soundfile.write(tmp_path / "real" / name, np.full(5000, 0.1), 16000)
    spoil(tmp_path / "real")
    (tmp_path / "captions.csv").write_text("id,caption\nx,rain\ny,a dog\n")
    command = ["sweep", "steps=1", "--captions", str(tmp_path / "captions.csv"), "--output", str(tmp_path / "out")]
    command += ["--model", str(teacher_folder), "--evaluator.clap", str(tmp_path / "clap")]
    with pytest.raises(SystemExit, match=rf"1\.wav \({named}"):
        main([*command, "--evaluator.real", str(tmp_path / "real"), "--device", "cpu"])
    assert not (tmp_path / "out").exists()


def test_a_recording_that_is_too_short_for_the_tagger_is_named_before_generation(tmp_path: Path) -> None:
    for number, samples in enumerate((512, 400, 16000)):
        soundfile.write(tmp_path / f"{number}.wav", np.full(samples, 0.1), 16000)
    (tmp_path / "tagger.pt").touch()
    with pytest.raises(ValueError, match=r"1\.wav"):
        EvaluatorOptions(real=tmp_path, tagger=tmp_path / "tagger.pt").check(tmp_path / "captions.csv")
    EvaluatorOptions(real=tmp_path).check(tmp_path / "captions.csv")


def test_other_recordings_in_the_same_folder_are_other_conditions(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for name in ("x", "y"):
        soundfile.write(tmp_path / "real" / f"{name}.wav", np.zeros(10), 16000)
    (tmp_path / "tagger.pt").write_bytes(b"one")
    seen = []
    for change in (lambda: None, lambda: None, lambda: (tmp_path / "tagger.pt").write_bytes(b"other")):
        change()
        seen.append(EvaluatorOptions(real=tmp_path / "real", tagger=tmp_path / "tagger.pt").conditions)
    for level in (0.1, 0.2):
        soundfile.write(tmp_path / "real" / "x.wav", np.full(10, level), 16000)
        seen.append(EvaluatorOptions(real=tmp_path / "real", tagger=tmp_path / "tagger.pt").conditions)
    assert seen[0] == seen[1]
    assert len({json.dumps(conditions) for conditions in seen}) == 4


def test_two_models_are_swept_into_one_picture(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_student(teacher_folder, tmp_path / "student")
    write_clap(tmp_path / "clap")
    write_real_clips(tmp_path / "clap")
    captions, output = tmp_path / "captions.csv", tmp_path / "sweep"
    captions.write_text("id,caption\nx,rain\ny,a dog\n")
    index = tmp_path / "student" / "model_index.json"
    rewards = {"rewards": RewardLineage.by([TransformersClap(tmp_path / "clap")]).to_dict()}
    index.write_text(json.dumps(json.loads(index.read_text()) | rewards))
    monkeypatch.setattr("consistency_tta.evaluation.sweep.scores.TIMED", 1)
    options = ["--captions", str(captions), "--output", str(output), "--device", "cpu"]
    options += ["--evaluator.clap", str(tmp_path / "clap")]
    of_teacher, of_student = ["--model", str(teacher_folder)], ["--model", str(tmp_path / "student")]
    main(["sweep", "guidance_scale=1,3", "steps=2", *of_teacher, *options])
    student = ["sweep", "guidance_scale=1,3", "steps=1", *of_student, *options]
    table, picture, page = main(student)

    rows = list(csv.DictReader(table.open(newline="")))
    settings = {(Path(row["model"]).name, row["guidance_scale"], row["steps"], row["queries"]) for row in rows}
    assert settings == {
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
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    html = page.read_text(encoding="utf-8")
    assert html.count("<svg") == 1
    addresses = re.findall(r'<audio [^>]*src="([^"]+)"', html)
    assert len(addresses) == 8  # both captions with each of the four settings
    assert all((output / unquote(address)).is_file() for address in addresses)
    assert {row["diversity"] for row in rows} == {""}  # each caption has one sound
    assert "--num_samples" in html
    # Both values come from the CLAP, which was a reward of the student.
    assert f"<li>{tmp_path / 'student'}: The model was fine-tuned with {tmp_path / 'clap'}" in html
    assert "CLAP score, Fréchet distance and diversity may be high" in html
    assert html.count("fine-tuned with") == 1
    assert {row["clap_is_reward"] for row in rows if row["model"].endswith("student")} == {"True"}
    assert {row["frechet_is_reward"] for row in rows if row["model"].endswith("student")} == {"True"}

    # What the values depend on is stated in all files.
    stated = {
        "captions_sha256": checksum(captions),
        "clap_sha256": checksum(tmp_path / "clap" / "model.safetensors"),
        "reference_sha256": checksum(tmp_path / "clap" / REAL_CLIPS),
    }
    for key, value in stated.items():
        assert {row[key] for row in rows} == {value}
        assert value in html
        assert value in picture.read_text(encoding="utf-8")
    assert len({row["weights_sha256"] for row in rows} - {""}) == 2
    assert {row["solver"] for row in rows} == {"DDIM", "none, a student"}
    common = {"recordings": "50", "sounds": "2", "captions": "captions.csv", "resampler": RESAMPLER, "protocol": ""}
    assert all(row | common == row for row in rows)
    assert "50 recordings" in html
    assert "<b>No protocol</b>" in html

    # Again: nothing is generated, embedded or timed. A lost score is computed again from the sounds.
    scores = {file: file.read_bytes() for file in output.rglob("scores.json")}
    lost = next(iter(scores))
    lost.unlink()
    capsys.readouterr()
    main(student if "student" in str(lost) else ["sweep", "guidance_scale=1,3", "steps=2", *of_teacher, *options])
    assert "all 4 sounds are there" in capsys.readouterr().out
    again, before = json.loads(lost.read_text()), json.loads(scores[lost])
    assert again["seconds"] > 0
    assert again | {"seconds": 0} == before | {"seconds": 0}
    assert all(file.read_bytes() == content for file, content in scores.items() if file != lost)

    # Scores of an earlier version are read, and computed anew where it stored less.
    stored = json.loads(lost.read_text())
    earlier = {{"evaluator": "judge"}.get(key, key): value for key, value in stored.items()}
    earlier["generation"] = {key: value for key, value in stored["generation"].items() if key != "sampler"}
    for judge, kept in ((earlier["judge"], True), ({"clap": [str(tmp_path / "clap"), "0" * 64]}, False)):
        lost.write_text(json.dumps(earlier | {"judge": judge}))
        main(student if "student" in str(lost) else ["sweep", "guidance_scale=1,3", "steps=2", *of_teacher, *options])
        found = json.loads(lost.read_text())
        assert ("judge" in found) == kept
        assert len(list(csv.DictReader(table.open(newline="")))) == 4
    assert found | {"seconds": 0} == before | {"seconds": 0}

    # Other captions are not drawn along with these.
    captions.write_text("id,caption\nx,rain\ny,a cat\n")
    with pytest.raises(SystemExit, match="captions"):
        main(student)
    main(["sweep", "seed=1", *of_student, *options])
    assert "left out, as of other captions" in capsys.readouterr().out
    assert len(list(csv.DictReader(table.open(newline="")))) == 1


def test_recordings_of_any_length_and_rate_are_a_reference(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clap(tmp_path / "clap")
    (tmp_path / "real").mkdir()
    for number, rate in enumerate((16000, 16000, 8000)):
        noise = 0.1 * np.random.default_rng(number).standard_normal((rate + number, 2))
        soundfile.write(tmp_path / "real" / f"{number}.wav", noise, rate)
    captions = tmp_path / "captions.csv"
    captions.write_text("id,caption\nx,rain\ny,a dog\n")
    evaluator = EvaluatorOptions(str(tmp_path / "clap"), tmp_path / "real")
    options: dict[str, Any] = {"num_samples": 4, "device": "cpu", "evaluator": evaluator}
    table, picture, page = sweep(["steps=1"], str(teacher_folder), captions, tmp_path / "out", **options)
    [row] = csv.DictReader(table.open(newline=""))
    assert float(row["frechet"]) > 0
    # Diversity is the mean over the captions of the mean distance between their four sounds.
    clap, expected = TransformersClap(tmp_path / "clap"), []
    for clip in ("x", "y"):
        sounds = [read_recording(file) for file in sorted((tmp_path / "out").rglob(f"{clip}.wav"))]
        vectors = torch.cat([clap.embed(sound.waveform[None], sound.sample_rate) for sound in sounds])
        assert len(vectors) == 4
        expected.append(float(torch.pdist(vectors.double()).mean()))
    assert float(row["diversity"]) == pytest.approx(sum(expected) / 2, rel=1e-4)
    for key in ("clap", "frechet", "diversity"):
        assert float(row[f"{key}_low"]) < float(row[f"{key}_high"])
    assert f"{float(row['diversity']):.3f} ({float(row['diversity_low']):.3f} to" in page.read_text()
    assert "diversity within a caption" in picture.read_text()

    # Without matplotlib there is a page, and no curves.
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    table, page = sweep(["steps=1"], str(teacher_folder), captions, tmp_path / "out", **options)
    assert len(list(csv.DictReader(table.open(newline="")))) == 1
    assert "<svg" not in page.read_text()
    assert "consistency-tta[report]" in page.read_text()
    assert not (tmp_path / "out" / "sweep.svg").exists()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ToyNetwork:
    """The network of the toy protocol."""
    network = ToyNetwork()
    monkeypatch.setattr(networks, "make_network", lambda name, weights: network)
    monkeypatch.setattr("consistency_tta.evaluation.sweep.scores.TIMED", 1)
    return network


@pytest.mark.parametrize("number", [1, 2])
def test_a_point_by_a_protocol_has_the_values_of_evaluate(
    number: int, teacher_folder: Path, tmp_path: Path, toy: ToyNetwork
) -> None:
    """The same values to the last bit, though the protocol cuts, centres and scales sounds; not those of another."""
    metrics = [{"metric": metric, "network": "toy"} for metric in ("clap_score", "frechet")]
    metrics.append({"metric": "diversity", "network": "toy", "interval": False})
    file = write_protocol(tmp_path / "rules", audio=_audio(0.5), metrics=metrics)
    reference, output = write_sounds(tmp_path / "recordings"), tmp_path / "sweep"
    command = ["--captions", str(tmp_path / "rules" / "toy.csv"), "--output", str(output)]
    command += ["--device", "cpu", "--model", str(teacher_folder)]
    command += ["--num_samples", str(number), "--evaluator.protocol", str(file), "--evaluator.real", str(reference)]
    table, picture, page = main(["sweep", "steps=1", "guidance_scale=1,3", *command])
    rows = list(csv.DictReader(table.open(newline="")))
    assert len(rows) == 2
    for row in rows:
        point = next(output.glob(f"*/steps-1_guidance_scale-{float(row['guidance_scale']):g}"))
        captions = point / ("captions.csv" if number == 1 else "0/captions.csv")
        found = evaluate(point, reference, str(file), captions, tmp_path / "alone", device="cpu", batch_size=5)
        values = {one.name: one.value for one in found.metric_values}
        assert ("diversity/toy" in values) == (number > 1)
        assert {name: float(row[name]) for name in values} == values
        assert (float(row["clap"]), float(row["frechet"])) == (values["clap_score/toy"], values["frechet/toy"])
        assert row["diversity"] == (row["diversity/toy"] if number > 1 else "")
        scores = json.loads((point / "scores.json").read_text())
        assert scores["metric_values"] == found.to_dict()["metric_values"]
        assert scores["warnings"] == found.warnings
        assert (point / "report" / "report.html").is_file()
        expected = {
            "protocol": "toy",
            "protocol_version": "3",
            "protocol_sha256": checksum(file),
            "sounds": str(6 * number),
        }
        expected["clips"] = "6 of 6 clips used."
        assert row | expected == row
        for text in (page.read_text(), picture.read_text(), json.dumps(scores)):
            assert "toy, version 3" in text
            assert checksum(file) in text
            assert "6 of 6 clips used" in text
    assert rows[0]["frechet"] != rows[1]["frechet"]
    assert "<b>No protocol</b>" not in page.read_text()

    # Again: nothing is embedded. By another protocol: no earlier score is kept.
    before = toy.embedded
    main(["sweep", "steps=1", "guidance_scale=1,3", *command])
    assert toy.embedded == before
    write_protocol(tmp_path / "rules", version=4, audio=_audio(0.25))
    table, *_ = main(["sweep", "steps=1", "guidance_scale=3", *command])
    [row] = csv.DictReader(table.open(newline=""))
    assert row["protocol_version"] == "4"
    assert row["frechet"] not in {before["frechet"] for before in rows}


def _audio(peak: float) -> dict[str, object]:
    return {"sample_rate": 8000, "resampler": RESAMPLER, "seconds": 0.25, "peak": peak}


@pytest.mark.usefixtures("toy")
def test_a_protocol_that_a_sweep_cannot_use_is_refused_before_generation(tmp_path: Path) -> None:
    file, recordings = str(write_protocol(tmp_path)), write_sounds(tmp_path / "recordings")
    captions = tmp_path / "toy.csv"
    EvaluatorOptions(real=recordings, protocol=file).check(captions)
    with pytest.raises(ConfigurationError):
        EvaluatorOptions(protocol=file).check(captions)
    with pytest.raises(ConfigurationError):
        EvaluatorOptions("other", recordings, protocol=file).check(captions)
    with pytest.raises(ConfigurationError):
        EvaluatorOptions(weights="toy=x").check(captions)
    strangers = tmp_path / "strangers.csv"
    strangers.write_text("id,caption\nx,rain\ny,a dog\n")
    with pytest.raises(DataError, match=r"strangers\.csv"):
        EvaluatorOptions(real=recordings, protocol=file).check(strangers)
    pointers = write_sounds(tmp_path / "pointers")
    for number in range(5):
        (pointers / f"clip{number}.wav").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DataError, match=r"clip0\.wav"):
        EvaluatorOptions(real=pointers, protocol=file).check(captions)
    lsd = write_protocol(tmp_path, metrics=[{"metric": "lsd"}])
    with pytest.raises(ConfigurationError, match="lsd"):
        EvaluatorOptions(real=recordings, protocol=str(lsd)).check(captions)
