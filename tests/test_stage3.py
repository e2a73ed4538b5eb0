"""The files of docs/stage3.md, and the guard's, train when they are laid over the recipe of stage 3."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from consistency_tta.cli import main
from consistency_tta.components.networks import clap
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.storage.shards import write_shard
from tests.bundles import write_student

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "stage3.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```yaml\n# (\w+)\.yaml\n(.*?)```", PAGE, re.DOTALL))
RECIPES = ROOT / "lightning_configs" / "tiny"
SMALL = [
    *("--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.limit_val_batches", "1"),
    *("--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.enable_progress_bar", "false"),
    *("--trainer.log_every_n_steps", "1", "--data.batch_size", "2", "--model.decoding.crop_frames", "16"),
]
QUICK = ["--model.objective.num_discretization_steps", "4", "--model.objective.teacher_steps", "1"]
#: What the log must have of each file.
LOGGED = {
    "consistency": {"train/loss/latent", "train/loss/clap"},
    "anchored_consistency": {"train/loss/anchor/distance", "train/loss/latent", "train/loss/clap"},
    "similarity": {"train/loss/distance", "train/loss/clap"},
    "adversary_mel": {"train/loss/distance", "train/loss/adversary/discriminator"},
    "adversary_waveform": {"train/loss/distance", "train/loss/adversary/discriminator"},
}


@pytest.fixture
def stage3(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the recipe reads: models of stages 1 and 2, a CLAP, latents."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTS", str(tmp_path / "latents"))
    TextToAudioPipeline.from_pretrained(teacher_folder).save_pretrained(tmp_path / "runs/tiny/guidance/model")
    write_student(teacher_folder, tmp_path / "runs/tiny/consistency/model")
    clap(channels=8, text_width=16, depths=[1, 1], heads=[2, 4]).save_pretrained(tmp_path / "runs/tiny/clap/model")
    for split in ("train", "val"):
        write_shard(tmp_path / "latents" / split, 0, torch.randn(8, 8, 8, 4), ["a dog", "rain"] * 4, list("abcdefgh"))
    return tmp_path


def columns(folder: Path) -> set[str]:
    [log] = (folder / "runs/tiny/audio").rglob("metrics.csv")
    return set(log.read_text().splitlines()[0].split(","))


def test_the_page_has_these_files() -> None:
    assert FILES.keys() == LOGGED.keys()


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(LOGGED))
def test_each_file_trains(name: str, stage3: Path) -> None:
    (stage3 / "over.yaml").write_text(FILES[name], encoding="utf-8")
    overlay = ["--config", "over.yaml"]
    quick = QUICK if name == "consistency" else []
    main(["fit", "--config", str(RECIPES / "audio.yaml"), *overlay, *SMALL, *quick])
    assert LOGGED[name] | {"val/metric/diversity", "val/metric/neighbours/coverage"} <= columns(stage3)
    student = TextToAudioPipeline.from_pretrained(stage3 / "runs/tiny/audio/model")
    assert student.sampler.one_query


@pytest.mark.long
def test_the_guard_exports_a_student_of_stage_3(stage3: Path, caplog: pytest.LogCaptureFixture) -> None:
    overlays = [part for name in ("audio", "guarded") for part in ("--config", str(RECIPES / f"{name}.yaml"))]
    bounds = ["--trainer.callbacks.constraints", "{val/metric/diversity: {at_least: 0.01, of: teacher}}"]
    main(["fit", *overlays, *bounds, *SMALL])
    assert TextToAudioPipeline.from_pretrained(stage3 / "runs/tiny/audio/model").sampler.one_query
    assert "kept step 2" in caplog.text
