"""A third party's loss, weighting, solver and datamodule, from packages outside this repository."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from consistency_tta.cli import main
from tests.toys import NUM_SAMPLES

#: Four plugins that need nothing but the contracts; each says in its own class that it was used.
LOSSES = """
from consistency_tta.contracts import Loss

class {name}(Loss):
    noise_weighted = True

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, out):
        return (out.student_latent - out.target_latent).abs().pow(self.power).flatten(1).mean(1)
"""
DIFFUSION = """
import torch
from consistency_tta.contracts import Solver, Weighting

class Nothing(Weighting):
    def forward(self, t, schedule):
        return torch.zeros_like(t)

class StandStill(Solver):
    steps = 0

    def forward(self, denoiser, z_t, t, s, conditioning):
        StandStill.steps += 1
        return z_t
"""
DATA = """
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader
from consistency_tta.contracts import Batch

def collate(indices):
    waveform = torch.stack([torch.linspace(-0.5, 0.5, NUM_SAMPLES).roll(index) for index in indices])
    return Batch(captions=["a ramp"] * len(indices), ids=[str(index) for index in indices], waveform=waveform)

class Ramps(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(range(8), batch_size=4, collate_fn=collate)
""".replace("NUM_SAMPLES", str(NUM_SAMPLES))

CONFIG = """
model:
  class_path: consistency_tta.training.Distillation
  init_args:
    teacher: {teacher}
    objective:
      class_path: consistency_tta.training.ConsistencyDistillation
      init_args: {{{diffusion}}}
    losses:
      mine:
        class_path: {loss}
        init_args: {{power: 1.0}}
data:
  {data}
trainer:
  max_steps: 3
  accelerator: cpu
  default_root_dir: {folder}
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  enable_checkpointing: false
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path. What is imported from it stays imported: names are used once."""
    folder = tmp_path / "outside"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def package(folder: Path, name: str, **files: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    for file, source in files.items():
        (folder / name / f"{file}.py").write_text(source)


def config(tmp_path: Path, **fields: object) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path, **fields))
    return str(path)


def test_plugins_of_another_package_work_by_class_path(teacher_folder: Path, tmp_path: Path, outside: Path) -> None:
    package(outside, "otherpackage", losses=LOSSES.format(name="MyLoss"), diffusion=DIFFUSION, data=DATA)
    diffusion = "weighting: otherpackage.diffusion.Nothing, solver: otherpackage.diffusion.StandStill"
    cli = main(
        [
            "fit",
            "--config",
            config(
                tmp_path,
                teacher=teacher_folder,
                loss="otherpackage.losses.MyLoss",
                diffusion=diffusion,
                data="class_path: otherpackage.data.Ramps",
            ),
        ]
    )
    metrics = cli.trainer.callback_metrics
    assert cli.trainer.global_step == 3
    assert cli.model.losses["mine"].power == 1.0
    # The loss is there, and the weighting makes nothing of it.
    assert metrics["train/loss/mine"] > 0
    assert metrics["train/loss"] == 0
    assert sys.modules["otherpackage.diffusion"].StandStill.steps > 0
    assert type(cli.datamodule).__module__ == "otherpackage.data"


def test_an_installed_package_registers_bare_names(
    teacher_folder: Path, tmp_path: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package(outside, "plugged", losses=LOSSES.format(name="PluggedLoss"))
    data = f"class_path: SyntheticDataModule\n  init_args: {{num_clips: 4, num_samples: {NUM_SAMPLES}, batch_size: 4}}"
    path = config(tmp_path, teacher=teacher_folder, loss="PluggedLoss", diffusion="solver: DDIM", data=data)
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", path])
    assert "PluggedLoss" in capsys.readouterr().err

    information = outside / "plugged-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[consistency_tta.plugins]\nlosses = plugged.losses\n")
    cli = main(["fit", "--config", path])
    assert type(cli.model.losses["mine"]).__name__ == "PluggedLoss"
    assert cli.trainer.callback_metrics["train/loss/mine"] > 0
