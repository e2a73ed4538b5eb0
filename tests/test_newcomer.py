"""A package outside the repository that adds an objective, a loss, a metric, a backbone and a text encoder.

Each is one file of that package and a line of a YAML; nothing here changes. `--trust` lets model folders name them.
A teacher with the new backbone and text encoder is trained, distilled by the new objective with the new loss, and its
sounds are evaluated by the new metric.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from consistency_tta.cli import main
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.evaluation.protocol import RESAMPLER
from consistency_tta.pipeline import TextToAudioPipeline
from tests.toys import MEL, NUM_SAMPLES, toy_parts

#: Improved consistency training (Song and Dhariwal, 2024): no teacher; both points lie on one line of noise.
OBJECTIVE = """
import torch
from consistency_tta.contracts import Objective, Prediction
from consistency_tta.diffusion.weighting import Uniform

class ConsistencyTraining(Objective):
    needs_teacher = False
    target_ema_decay = 0.0

    def __init__(self, num_steps: int = 8) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.weighting = Uniform()

    def forward(self, step, networks):
        z_0, rng = step.clean_latent, step.rng
        index = rng.to_device(1 + rng.integers(self.num_steps, len(step)))
        t, s = (i * step.schedule.num_train_timesteps / self.num_steps for i in (index, index - 1))
        epsilon = rng.normal_like(z_0)
        with torch.no_grad():
            lower = networks.target(step.add_noise(z_0, epsilon, s), s.clamp(min=1), step.conditioning)
            target = torch.where((s > 0).reshape(-1, *[1] * (z_0.ndim - 1)), lower, z_0)
        student = networks.student(step.add_noise(z_0, epsilon, t), t, step.conditioning)
        return Prediction(student, target, z_0, t, s)
"""
LOSS = """
import torch
from consistency_tta.contracts import Loss

class ScaledLoss(Loss):
    def __init__(self) -> None:
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.zeros(()))  # learnt with the student

    def forward(self, out):
        error = (out.student_latent - out.target_latent).square().flatten(1).mean(1)
        return error * (-self.log_scale).exp() + self.log_scale
"""
METRIC = """
import torch
from torchmetrics import Metric

class Level(Metric):
    per_clip = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("value", torch.tensor(0.0))

    def update(self, waveform):
        self.value = waveform.square().mean().sqrt()

    def compute(self):
        return self.value
"""
BACKBONE = """
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from consistency_tta.components.backbones import Backbone

class Mixer(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, channels: int = 4, size: list[int] = [8, 4], text_width: int = 16, scalars: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.condition = nn.Linear(text_width + scalars, 8)
        self.out = nn.Conv2d(8, channels, 3, padding=1)

    def forward(self, z, features):
        return self.out(torch.tanh(self.conv(z) + self.condition(features)[:, :, None, None]))

class MixerBackbone(Backbone):
    network_class = Mixer
    component = "transformer"
    scalar_layers = ("condition",)

    @property
    def latent_shape(self):
        return (self.network.config.channels, *self.network.config.size)

    def predict(self, z_t, t, conditioning, s=None):
        mask = conditioning.text.mask[..., None]
        text = (conditioning.text.embedding * mask).sum(1) / mask.sum(1)
        features = [text, t[:, None] / self.schedule.num_train_timesteps, self.scalar_features(conditioning, s)]
        return self.network(z_t, torch.cat([f.float() for f in features if f is not None], dim=1)).float()

    def widen(self, network, features):
        config = dict(network.config)
        wider = Mixer(config["channels"], config["size"], config["text_width"], config["scalars"] + features)
        columns = torch.zeros(8, features)
        weight = torch.cat([network.condition.weight.detach(), columns], dim=1)
        wider.load_state_dict(network.state_dict() | {"condition.weight": weight})
        return wider
"""
TEXT = """
from transformers import BertConfig, BertModel, ByT5Tokenizer
from consistency_tta.components.text import TextEncoder

class LetterEncoder(TextEncoder):
    def __init__(self, width: int = 16) -> None:
        tokenizer = ByT5Tokenizer(extra_ids=0)
        sizes = {"hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        super().__init__(tokenizer, BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)), 64)
"""
FILES = {"objective": OBJECTIVE, "loss": LOSS, "metric": METRIC, "backbone": BACKBONE, "text": TEXT}


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package on the import path, and a folder to work in."""
    package = tmp_path / "outside" / "newcomer"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name, source in FILES.items():
        (package / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path / "outside")
    monkeypatch.chdir(tmp_path)


def fit(name: str, model: dict[str, Any]) -> Any:
    data = {"num_clips": 4, "num_val_clips": 2, "num_samples": NUM_SAMPLES, "batch_size": 2}
    trainer = {
        "max_steps": 3,
        "accelerator": "cpu",
        "devices": 1,
        "default_root_dir": name,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "callbacks": [
            {"class_path": "consistency_tta.training.ExportFolder", "init_args": {"folder": f"{name}/model"}}
        ],
    }
    config = {
        "model": model,
        "data": {"class_path": "consistency_tta.datamodules.SyntheticDataModule", "init_args": data},
        "trainer": trainer,
    }
    Path(f"{name}.yaml").write_text(yaml.safe_dump(config))
    return main(["fit", "--trust", "newcomer", "--config", f"{name}.yaml"])


@pytest.mark.usefixtures("newcomer")
def test_five_files_and_three_yamls() -> None:
    torch.manual_seed(0)
    parts = toy_parts()
    codec = {"mel": MelSpectrogram(**MEL), "vae": parts["vae"], "vocoder": parts["vocoder"]}
    TextToAudioPipeline(**codec).save_pretrained("codec")
    teacher = {
        "model": "codec",
        "network": {"class_path": "newcomer.backbone.Mixer"},
        "text_encoder": {"class_path": "newcomer.text.LetterEncoder"},
    }
    fit("teacher", {"class_path": "LatentDiffusion", "init_args": teacher})
    loaded = TextToAudioPipeline.from_pretrained("teacher/model")
    assert type(loaded.denoiser).__name__ == "MixerBackbone"
    assert type(loaded.text_encoder).__name__ == "BertModel"

    student = {
        "teacher": "teacher/model",
        "objective": {"class_path": "newcomer.objective.ConsistencyTraining", "init_args": {"num_steps": 4}},
        "losses": {"scaled": {"class_path": "newcomer.loss.ScaledLoss"}},
    }
    cli = fit("student", {"class_path": "Distillation", "init_args": student})
    assert not hasattr(cli.model.frozen, "teacher")
    assert cli.model.losses["scaled"].log_scale.item() != 0
    assert TextToAudioPipeline.from_pretrained("student/model")("a tone").queries == 1

    Path("captions.csv").write_text("file,caption\na,a low tone\nb,a high tone\n")
    for model, folder in (("student", "out"), ("teacher", "other")):
        main(
            ["generate", "--captions", "captions.csv", "--model", f"{model}/model", "--output", folder, "--steps", "1"]
        )
    protocol = {
        "name": "level",
        "version": 1,
        "description": "Two clips.",
        "clips": {
            "number": 2,
            "file": "captions.csv",
            "sha256": hashlib.sha256(Path("captions.csv").read_bytes()).hexdigest(),
        },
        "audio": {"sample_rate": 16000, "resampler": RESAMPLER, "seconds": 0.25},
        "networks": {},
        "metrics": [{"metric": "newcomer.metric.Level"}],
        "bootstrap": {"resamples": 10, "set_resamples": 5, "confidence": 0.95},
        "seed": 0,
        "generation_seed": 0,
    }
    Path("protocol.yaml").write_text(yaml.safe_dump(protocol))
    folders = ["--generated", "out", "--reference", "other", "--output", "report", "--device", "cpu"]
    result = main(["evaluate", *folders, "--protocol", "protocol.yaml"])
    [level] = result.metric_values
    assert level.name == "Level"
    assert level.value > 0
