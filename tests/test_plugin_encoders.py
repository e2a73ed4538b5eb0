"""A third party's encoder: one file outside this repository serves a loss, metrics while training, and `evaluate`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consistency_tta.cli import main
from consistency_tta.components.reward_lineage import EncoderFingerprint
from consistency_tta.evaluation.networks import fingerprint, make_network
from tests.test_plugins import outside, package  # noqa: F401  # a fixture
from tests.toys import NUM_SAMPLES

ENCODER = """
import torch
from torch import nn
from torch.nn import functional as F
from consistency_tta.audio.resample import resample
from consistency_tta.contracts import AudioEncoder
from consistency_tta.runtime.frozen import Frozen

class Bands(AudioEncoder):
    sample_rate, num_features, checksum = 8000, 4, 64 * "a"

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.frozen = Frozen(network=nn.Linear(4, 4))

    def embed(self, waveform, sample_rate):
        spectrum = torch.fft.rfft(resample(waveform, sample_rate, self.sample_rate)).abs()
        return F.normalize(self.frozen.network(torch.stack([band.mean(1) for band in spectrum.chunk(4, 1)], 1)), dim=1)

    def embed_text(self, captions):
        return F.one_hot(torch.tensor([len(caption) % 4 for caption in captions]), 4).float()
"""
CONFIG = """
model:
  class_path: consistency_tta.training.ConsistencyDistillation
  init_args:
    teacher: {teacher}
    losses:
      clap:
        class_path: consistency_tta.losses.CLAPLoss
        init_args:
          encoder:
            class_path: {name}.encoder.Bands
            init_args: {{seed: 3}}
data:
  class_path: SyntheticDataModule
  init_args: {{num_clips: 4, num_samples: {num_samples}, batch_size: 4}}
trainer:
  max_steps: 2
  accelerator: cpu
  default_root_dir: {folder}
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  enable_checkpointing: false
  num_sanity_val_steps: 0
  callbacks:
  - class_path: consistency_tta.training.SoundMetrics
    init_args:
      captions: [a dog, rain]
      num_samples: 2
      embedder: {{class_path: {embedder}}}
      metrics:
        diversity: {{class_path: consistency_tta.metrics.diversity.PromptDiversity}}
        clap:
          class_path: consistency_tta.metrics.clap.CLAPScore
          init_args: {{encoder: {{class_path: {name}.encoder.Bands}}}}
"""


@pytest.mark.parametrize(
    ("name", "embedder"),
    [("bands", "bands.encoder.Bands"), ("more_bands", "consistency_tta.metrics.embedders.TinyCLAP")],
    ids=["own", "earlier class path"],
)
def test_one_file_serves_loss_and_metrics(
    name: str,
    embedder: str,
    teacher_folder: Path,
    tmp_path: Path,
    outside: Path,  # noqa: F811
) -> None:
    package(outside, name, encoder=ENCODER)
    fields = {"folder": tmp_path, "num_samples": NUM_SAMPLES, "embedder": embedder, "name": name}
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(teacher=teacher_folder, **fields))
    cli = main(["fit", "--config", str(config)])
    values = cli.trainer.callback_metrics
    assert 0 < values["train/loss/clap"] < 4
    assert values["val/metric/diversity"] > 0
    assert -1 <= values["val/metric/clap"] <= 1
    encoder = cli.model.losses.losses["clap"].encoder
    assert not any("bands" in name or "encoder" in name for name in cli.model.state_dict())
    assert cli.model.pipeline().rewards.include(EncoderFingerprint.of(encoder))


def test_evaluation_makes_it_by_its_class_path(outside: Path) -> None:  # noqa: F811
    package(outside, "evaluated_bands", encoder=ENCODER)
    network = make_network("evaluated_bands.encoder.Bands")
    assert network.embed_windows(torch.randn(2, 4000), 16000).vectors.shape == (2, 1, 4)
    assert network.embed_text(["a dog"]).shape == (1, 4)
    assert fingerprint(network).signature  # so that `evaluate` can say whether it was the reward
