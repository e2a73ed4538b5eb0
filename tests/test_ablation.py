"""Every line of docs/ablation.md is typed as it stands there, and takes a step with toys."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.cli import main
from consistency_tta.components.networks import clap
from consistency_tta.losses import LatentL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training import ConsistencyDistillation, Distillation, GuidanceDistillation
from tests.recordings import write_recordings
from tests.toys import toy_parts

ROOT = Path(__file__).parent.parent
SMALL = [
    *("--data.num_samples", "5120", "--data.batch_size", "2", "--data.num_workers", "0"),
    *("--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.max_steps", "1"),
    # No validation and no files: what lines change is the step.
    *("--trainer.limit_val_batches", "0", "--trainer.callbacks", "null", "--trainer.logger", "false"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    *("--trainer.enable_checkpointing", "false", "--trainer.default_root_dir", "variant"),
    *("--trainer.accumulate_grad_batches", "1", "--trainer.precision", "32-true"),
]


def lines() -> list[tuple[list[str], str]]:
    """Command and override of each line."""
    found, command = [], ""
    for line in (ROOT / "docs" / "ablation.md").read_text().splitlines():
        if line.startswith("consistency-tta "):
            command = line
        elif code := re.match(r"\|.*\| `([^`]+)` \|$", line):
            whole = code[1] if code[1].startswith("consistency-tta ") else f"{command} {code[1]}"
            found.append((shlex.split(whole)[1:], code[1]))
    return found


LINES = lines()
TRAINING = [(arguments, override) for arguments, override in LINES if arguments[0] == "fit"]
GENERATION = [(arguments, override) for arguments, override in LINES if arguments[0] == "generate"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings, and toys where the recipes look for models."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("ablation")
    write_recordings(place / "data" / "audiocaps")
    runs = place / "runs" / "audiocaps"
    TextToAudioPipeline(**toy_parts()).save_pretrained(runs / "teacher" / "model")
    losses = {"latent": LatentL2Loss()}
    student = Distillation(str(runs / "teacher" / "model"), GuidanceDistillation(), losses)
    student.pipeline().save_pretrained(runs / "guidance" / "model")
    student.parts["scheduler"].register_to_config(prediction_type="sample")
    student.objective.one_query = True
    for name in ("consistency", "audio", "direct"):
        student.pipeline().save_pretrained(runs / name / "model")
    clap(channels=8, text_width=16, depths=[1, 1], heads=[2, 4]).save_pretrained(place / "clap")
    (place / "captions.txt").write_text("A dog barks\n")
    return place


@pytest.fixture(autouse=True)
def _in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("CLAP", str(place / "clap"))
    for name in ("AUDIOCAPS", "TEACHER", "STUDENT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("arguments", [a for a, _ in TRAINING], ids=[" ".join(a[2:]) for a, _ in TRAINING])
def test_a_line_trains(arguments: list[str]) -> None:
    if "--model.decoding.crop_frames" in arguments:  # of a toy's 32 frames instead of 1024
        arguments = [argument.replace("256", "8") for argument in arguments]
    recipe = arguments[2]
    run: Any = main(["fit", "--config", recipe, *arguments[3:], *SMALL])
    assert run.trainer.global_step == 1
    assert type(run.model.objective) is (GuidanceDistillation if "guidance" in recipe else ConsistencyDistillation)
    assert torch.isfinite(run.trainer.callback_metrics["train/loss"])


@pytest.mark.parametrize("arguments", [a for a, _ in GENERATION], ids=[override for _, override in GENERATION])
def test_a_line_generates(arguments: list[str]) -> None:
    [file] = main(arguments)
    queries = 2 if {"--steps", "--external_guidance_scale"} & set(arguments) else 1
    assert f"_q{queries}_" in file.name
    assert ("_LinspaceGrid_" in file.name) == ("--grid" in arguments)


def test_all_lines_are_read() -> None:
    text = (ROOT / "docs" / "ablation.md").read_text()
    assert len(LINES) == text.count("` |\n") >= 45
    assert len({" ".join(arguments) for arguments, _ in LINES}) == len(LINES)
