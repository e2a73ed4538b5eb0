"""The arena in a few seconds on whatever device there is."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.storage.shards import write_shard
from tests.tools.arena.loudness import recordings
from tools.arena import device
from tools.arena.configuration import duration


def test_everything_within_its_time(teacher_folder: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "latents/train", 0, torch.randn(8, 8, 8, 4), ["a dog"] * 8, [str(k) for k in range(8)])
    real = tmp_path / "recordings_loudness.safetensors"
    recordings().save(real)
    output = tmp_path / "out"
    options = ["--minutes", "0.1", "--channels", "16", "32", "--batch_size", "4", "--clips", "4", "--draws", "2"]
    options += ["--base", str(teacher_folder), "--latents", str(tmp_path / "latents"), "--real", str(real)]
    options += ["--encoder", "tests.tools.arena.loudness.Loudness", "--weights", "1"]
    device.main(["--output", str(output), *options, "--contestants", "distribution", "--teacher_steps", "2"])
    unet = TextToAudioPipeline.from_pretrained(output / "teacher/model").unet
    assert tuple(unet.config.block_out_channels) == (16, 32)
    names = {row["name"] for row in json.loads((output / "report.json").read_text())["rows"]}
    assert names == {"teacher", "distribution"}


def test_durations() -> None:
    assert duration(3725.4) == "00:01:02:05"
    assert duration(0.1) == "00:00:00:01"
