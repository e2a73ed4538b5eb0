"""Captions to wav files."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.cli import main
from consistency_tta.generate import generate
from consistency_tta.generation.teacher_samples import TeacherSamples
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, DataError
from tests.toys import NUM_SAMPLES
from tests.training.runs import guidance, one_query


def sounds(files: list[Path]) -> list[np.ndarray]:
    return [soundfile.read(file)[0] for file in files]


def test_files_are_16_bit_and_named_for_what_they_are(
    teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = generate(
        ["A dog, barking!", "rain"], str(teacher_folder), tmp_path, steps=2, num_samples=2, batch_size=3, device="cpu"
    )
    assert [file.name for file in files] == [
        "000_a-dog-barking_w3_q4_seed0_0.wav",
        "000_a-dog-barking_w3_q4_seed0_1.wav",
        "001_rain_w3_q4_seed0_0.wav",
        "001_rain_w3_q4_seed0_1.wav",
    ]
    for file in files:
        info = soundfile.info(file)
        assert (info.subtype, info.samplerate, info.channels, info.frames) == ("PCM_16", 16000, 1, NUM_SAMPLES)
    assert len({sound.tobytes() for sound in sounds(files)}) == 4

    line = capsys.readouterr().out.strip()
    pattern = (
        r"4 sounds in .*: 4 queries each, (\d+\.\d+) s in all \(latents (\d+\.\d+) s, decoders (\d+\.\d+) s\), "
        r"real-time factor (\d+\.\d+)"
    )
    total, unet, decoders, factor = map(float, re.fullmatch(pattern, line).groups())
    assert total == pytest.approx(unet + decoders, abs=0.02)
    assert factor == pytest.approx(total / (4 * NUM_SAMPLES / 16000), abs=0.02)


def test_sounds_depend_on_seed_and_position_only(teacher_folder: Path, tmp_path: Path) -> None:
    def make(folder: str, **settings: int) -> list[np.ndarray]:
        captions = ["a dog", "rain", "a dog"]
        return sounds(generate(captions, str(teacher_folder), tmp_path / folder, steps=1, device="cpu", **settings))

    first = make("first", batch_size=2)
    for one, other in zip(first, make("other", batch_size=3), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)  # a few steps of 16 bits
    assert not np.allclose(first[0], first[2], atol=1e-2)
    assert not np.allclose(first[0], make("seed", seed=1)[0], atol=1e-2)


def test_external_guidance_costs_a_second_query_and_is_in_the_name(teacher_folder: Path, tmp_path: Path) -> None:
    one_query(guidance(teacher_folder)).save_pretrained(tmp_path / "student")
    student = TextToAudioPipeline.from_pretrained(tmp_path / "student")
    [plain] = generate(["rain"], str(tmp_path / "student"), tmp_path, device="cpu")
    [guided] = generate(["rain"], str(tmp_path / "student"), tmp_path, device="cpu", external_guidance_scale=4.0)
    assert plain.name == "000_rain_w3_q1_seed0_0.wav"
    assert guided.name == "000_rain_w3_x4_q2_seed0_0.wav"
    assert not np.allclose(*sounds([plain, guided]), atol=1e-3)
    made = TeacherSamples(str(tmp_path / "student"), 3.0, 1, device="cpu", external_guidance_scale=4.0)(["rain"], 7)
    noise = torch.Generator().manual_seed(7)
    expected, _ = student.sample("rain", 3.0, 1, generator=noise, external_guidance_scale=4.0)
    mean = made.chunk(2, dim=1)[0] * student.vae.config.scaling_factor
    torch.testing.assert_close(mean, expected)


def test_a_text_file_stands_for_its_lines(teacher_folder: Path, tmp_path: Path) -> None:
    captions = tmp_path / "captions.txt"
    captions.write_text("a dog\n\n  ein Hündchen \n", encoding="utf-8")
    files = generate([str(captions), "雨"], str(teacher_folder), tmp_path / "out", 1.0, steps=1, device="cpu")
    assert [file.name for file in files] == [
        "000_a-dog_w1_q1_seed0_0.wav",
        "001_ein-hündchen_w1_q1_seed0_0.wav",
        "002_雨_w1_q1_seed0_0.wav",
    ]


def test_wrong_arguments_are_named(teacher_folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.touch()
    with pytest.raises(ConfigurationError, match=r"empty\.txt"):
        generate([str(empty)], str(teacher_folder), tmp_path)
    with pytest.raises(ConfigurationError, match="num_samples"):
        generate(["a"], str(teacher_folder), tmp_path, num_samples=0)
    with pytest.raises(FileNotFoundError, match=r"captoins\.txt"):
        generate(["captoins.txt"], str(teacher_folder), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        generate(["a"], str(tmp_path), tmp_path)


def test_texts_and_caption_files_do_not_mix(teacher_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "clips.csv"
    file.write_text("id,caption\nx,rain\n")
    assert generate([str(file)], str(teacher_folder), tmp_path, steps=1, device="cpu") == [tmp_path / "x.wav"]
    with pytest.raises(ConfigurationError, match=r"clips\.csv"):
        generate(["rain", str(file)], str(teacher_folder), tmp_path)
    with pytest.raises(ConfigurationError, match="rain"):
        generate(["rain"], str(teacher_folder), tmp_path, captions=file)
    for settings in ({"devices": 2}, {"all_captions": True}):
        with pytest.raises(ConfigurationError):
            generate(["rain"], str(teacher_folder), tmp_path, **settings)


@pytest.mark.parametrize(
    "settings",
    [{"guidance_scale": math.nan}, {"external_guidance_scale": math.inf}, {"seconds": 0.0}, {"steps": 0}, {"seed": -1}],
)
def test_settings_out_of_range_are_refused_before_the_model_is_loaded(
    settings: dict[str, float], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        generate(["rain"], "no_such_model", tmp_path, **settings)


def test_sounds_may_be_shorter_than_the_latents(teacher_folder: Path, tmp_path: Path) -> None:
    (file,) = generate(["rain"], str(teacher_folder), tmp_path, 1.0, steps=1, device="cpu", seconds=0.25)
    assert file.name == "000_rain_w1_q1_0.25s_seed0_0.wav"
    assert soundfile.info(file).frames == 4000


def test_a_folder_of_sounds_records_where_the_model_ends_them(teacher_folder: Path, tmp_path: Path) -> None:
    model, captions, output = tmp_path / "model", tmp_path / "captions.csv", tmp_path / "out"
    shutil.copytree(teacher_folder, model)
    captions.write_text("id,caption\nx,rain\n")
    settings = {"captions": captions, "steps": 1, "device": "cpu"}
    generate([], str(model), output, 1.0, **settings)
    assert json.loads((output / "generation.json").read_text())["seconds"] is None
    index = model / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"audio_length_in_s": 0.25}))
    with pytest.raises(DataError, match="seconds"):  # never sounds of two lengths in one folder
        generate([], str(model), output, 1.0, **settings)
    generate([], str(model), output, 1.0, overwrite=True, **settings)
    assert json.loads((output / "generation.json").read_text())["seconds"] == 0.25
    assert soundfile.info(output / "x.wav").frames == 4000


@pytest.mark.parametrize(
    "prompt", ["A ${HOME} for dogs", r"a \${b} \\${c", "-10 dB noise", "null", "[a, b]", "{a: b}", "10"]
)
def test_the_command_takes_any_text_as_it_is(prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[str]] = []

    def record(texts: list[str], model: str) -> None:
        taken.append(texts)

    monkeypatch.setattr("consistency_tta.generate.generate", record)
    main(["generate", prompt, "rain", "--model", "m"])
    assert taken == [[prompt, "rain"]]


def test_emoji_and_blank_captions_have_file_names(teacher_folder: Path, tmp_path: Path) -> None:
    files = generate(["🐶", " ", "a\nb\u2028c"], str(teacher_folder), tmp_path, 1.0, steps=1, device="cpu")
    assert [file.name.split("_")[1] for file in files] == ["symbols", "empty", "a-b-c"]


def test_blank_captions_are_refused_alone_and_made_among_others(teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="blank"):
        generate(["", " "], "tiny-student", tmp_path)
    options: dict[str, Any] = {"steps": 1, "device": "cpu"}
    made = generate(["", "rain"], str(teacher_folder), tmp_path / "each", batch_size=1, **options)
    again = generate(["", "rain"], str(teacher_folder), tmp_path / "both", batch_size=2, **options)
    for one, other in zip(made, again, strict=True):
        assert one.name == other.name
        assert np.abs(soundfile.read(one)[0] - soundfile.read(other)[0]).max() < 1e-3


@pytest.mark.parametrize("texts", ["rain", [None], [b"rain"], [1]])
def test_texts_are_a_list_of_text(texts: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"rain|None|1"):
        generate(texts, "tiny-student")


@pytest.mark.parametrize("seed", [-1, 1.5, True, "3", None])
def test_seeds_are_integers(seed: int) -> None:
    with pytest.raises(ConfigurationError, match="seed"):
        generate(["rain"], "tiny-student", seed=seed)
