"""The arena in a few seconds on whatever device there is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from consistency_tta.datamodules.latents_dataset import LatentsDataset
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.storage.shards import write_shard
from tests.tools.arena.loudness import recordings
from tools.arena import device, evaluate
from tools.arena.configuration import duration
from tools.arena.real import RealClips
from tools.arena.speed import passes_a_second

SMALL = ["--minutes", "0.05", "--batch_size", "4", "--clips", "4", "--draws", "2", "--teacher_steps", "2"]
LOUDNESS = ["--encoder", "tests.tools.arena.loudness.Loudness", "--weights", "1"]


def test_a_wide_teacher_on_latents_that_were_encoded(teacher_folder: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "latents/train", 0, torch.randn(8, 8, 8, 4), ["a dog"] * 8, [str(k) for k in range(8)])
    real = tmp_path / "recordings_loudness.safetensors"
    recordings().save(real)
    output = tmp_path / "out"
    options = ["--base", str(teacher_folder), "--latents", str(tmp_path / "latents"), "--real", str(real), *LOUDNESS]
    options += ["--channels", "16", "32", "--contestants", "distribution", *SMALL]
    device.main(["--output", str(output), *options])
    unet = TextToAudioPipeline.from_pretrained(output / "teacher/model").unet
    assert tuple(unet.config.block_out_channels) == (16, 32)
    names = {row["name"] for row in json.loads((output / "report.json").read_text())["rows"]}
    assert names == {"teacher", "distribution"}


def test_of_a_teacher_alone_and_again(teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its samples replace recordings; a second call repeats nothing; results can be evaluated without the models."""
    output, results = tmp_path / "out", tmp_path / "results"
    options = ["--output", str(output), "--results", str(results), "--base", str(teacher_folder), "--samples", "3"]
    options += ["--teacher", str(teacher_folder), "--contestants", "distribution", *SMALL]
    device.main([*options, *LOUDNESS])
    assert "distribution  loudness    1" in capsys.readouterr().out
    real = RealClips(**load_file(output / "recordings_loudness.safetensors"))
    assert real.reference_labels.tolist() == [label for label in range(10) for _ in range(3)]
    assert len(LatentsDataset(output / "samples/train")) == 30
    assert not torch.equal(real.reference[:2], real.held_out[:2])

    kept = {file: file.stat().st_mtime_ns for file in output.rglob("*.safetensors")}
    device.main([*options, *LOUDNESS])
    assert {file: file.stat().st_mtime_ns for file in kept} == kept

    assert not list(results.rglob("diffusion_pytorch_model*"))
    shutil.rmtree(output)
    for file in results.rglob("loudness_*"):
        file.unlink()
    evaluate.main(["--output", str(results), "--clips", "4", "--codec", str(teacher_folder), "--last", *LOUDNESS])
    assert list(results.glob(f"distribution/seed0/models/*/evaluation/loudness@{teacher_folder.name}_*.json"))


def test_a_budget_of_seconds_is_one_of_passes(teacher_folder: Path) -> None:
    assert passes_a_second(str(teacher_folder), 2, seconds=0.02) > 0


def test_durations() -> None:
    assert duration(3725.4) == "00:01:02:05"
    assert duration(0.1) == "00:00:00:01"
