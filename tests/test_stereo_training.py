"""A flow-matching transformer over a stereo codec: trained, distilled, sampled and evaluated by the usual commands."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from diffusers import AutoencoderOobleck

from consistency_tta.cli import main
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.tangoflux_projection import TangoFluxProjection
from consistency_tta.evaluation.protocol import RESAMPLER
from consistency_tta.pipeline import TextToAudioPipeline
from tests.components.backbones import test_flux as flux
from tests.toys import DIT, OOBLECK, TEXT

FRAMES = 256
SAMPLES = 64 * FRAMES  # 0.37 s
LOSS = "consistency_tta.losses"
SETTINGS = {"MultiResolutionSTFTLoss": {"n_ffts": [128], "hop_lengths": [32], "win_lengths": [128]}}
PROTOCOL: dict[str, Any] = {
    "name": "stereo",
    "version": 1,
    "description": "Two clips.",
    "clips": {"number": 2, "file": "captions.csv"},
    "audio": {"sample_rate": 16000, "resampler": RESAMPLER, "seconds": 0.25},
    "networks": {},
    "metrics": [{"metric": "lsd"}],
    "bootstrap": {"resamples": 10, "set_resamples": 5, "confidence": 0.95},
    "seed": 0,
    "generation_seed": 0,
}
TEACHER: dict[str, Any] = {
    "class_path": "consistency_tta.training.LatentDiffusion",
    "init_args": {
        "model": "codec",
        "network": {
            "class_path": "consistency_tta.components.networks.stable_audio_transformer",
            "init_args": {
                "latent_frames": FRAMES,
                "latent_channels": DIT["in_channels"],
                "text_width": TEXT["width"],
                "num_layers": 1,
                "heads": 2,
                "key_value_heads": 1,
                "head_width": 8,
            },
        },
        "text_encoder": {"class_path": "consistency_tta.components.text.ByteTextEncoder", "init_args": TEXT},
        "train_text_encoder": True,
        "scheduler": {"class_path": "diffusers.FlowMatchEulerDiscreteScheduler"},
    },
}


def distillation(objective: str, losses: list[str], **options: Any) -> dict[str, Any]:
    return {
        "class_path": "consistency_tta.training.Distillation",
        "init_args": {
            "teacher": "teacher/model",
            "objective": {"class_path": f"consistency_tta.training.{objective}"},
            "losses": {name: {"class_path": f"{LOSS}.{name}", "init_args": SETTINGS.get(name, {})} for name in losses},
        }
        | options,
    }


def fit(name: str, model: dict[str, Any]) -> Any:
    config = {
        "model": model,
        "data": {
            "class_path": "consistency_tta.datamodules.SyntheticDataModule",
            "init_args": {
                "num_clips": 4,
                "num_val_clips": 2,
                "num_samples": SAMPLES,
                "sample_rate": 44100,
                "channels": 2,
                "batch_size": 2,
            },
        },
        "trainer": {
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
        },
    }
    Path(f"{name}.yaml").write_text(yaml.safe_dump(config))
    return main(["fit", "--config", f"{name}.yaml"])


@pytest.mark.long
def test_all_stages_and_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    mel = MelSpectrogram(44100, n_fft=256, hop_length=64, n_mels=16, f_max=22050)
    TextToAudioPipeline(mel=mel, vae=AutoencoderOobleck(**OOBLECK)).save_pretrained("codec")
    teacher = fit("teacher", TEACHER)
    assert torch.isfinite(teacher.trainer.callback_metrics["train/loss"])

    guidance = fit("guidance", distillation("GuidanceDistillation", ["LatentL2Loss"]))
    assert torch.isfinite(guidance.trainer.callback_metrics["train/loss"])
    assert not TextToAudioPipeline.from_pretrained("guidance/model").sampler.one_query

    losses = ["LatentPseudoHuberLoss", "MelL2Loss", "MultiResolutionSTFTLoss"]
    options = {"student": {"folder": "guidance/model"}, "decoding": {"crop_frames": 8, "train_decoder": True}}
    student = fit("student", distillation("ConsistencyDistillation", losses, **options))
    metrics = student.trainer.callback_metrics
    assert all(metrics[f"train/loss/{name}"] > 0 for name in losses)
    assert torch.isfinite(metrics["val/teacher_distance"])

    Path("captions.csv").write_text("file,caption\na,a dog barks\nb,rain\n")
    main(["generate", "--captions", "captions.csv", "--model", "student/model", "--output", "out", "--device", "cpu"])
    for name in ("a", "b"):
        sound, rate = soundfile.read(f"out/{name}.wav")
        assert (sound.shape, rate) == ((SAMPLES, 2), 44100)
    again = TextToAudioPipeline.from_pretrained("student/model")("rain", guidance_scale=3.0)
    assert (again.queries, again.waveform.shape) == (1, (1, 2, SAMPLES))

    Path("recordings").mkdir()
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        soundfile.write(f"recordings/{name}.wav", 0.1 * generator.standard_normal((SAMPLES, 2)), 44100)
    pinned = PROTOCOL["clips"] | {"sha256": hashlib.sha256(Path("captions.csv").read_bytes()).hexdigest()}
    Path("protocol.yaml").write_text(yaml.safe_dump(PROTOCOL | {"clips": pinned}))
    folders = ["--generated", "out", "--reference", "recordings", "--output", "report", "--device", "cpu"]
    main(["evaluate", *folders, "--protocol", "protocol.yaml"])
    assert json.loads(Path("report/result.json").read_text())["metric_values"]


def test_tangofluxs_transformer_is_distilled_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = flux.parts() | {"projection_model": TangoFluxProjection(flux.WIDTH, 30, FRAMES)}
    TextToAudioPipeline(**parts).save_pretrained("teacher/model")
    fit("guidance", distillation("GuidanceDistillation", ["LatentL2Loss"]))
    options = {"student": {"folder": "guidance/model"}}
    student = fit("student", distillation("ConsistencyDistillation", ["LatentPseudoHuberLoss"], **options))
    assert torch.isfinite(student.trainer.callback_metrics["train/loss"])
    made = TextToAudioPipeline.from_pretrained("student/model")("rain", guidance_scale=3.0)
    assert (made.queries, made.waveform.shape) == (1, (1, 2, SAMPLES))
    before = parts["transformer"].state_dict()
    trained = TextToAudioPipeline.from_pretrained("student/model").transformer.state_dict()
    assert not torch.equal(trained["proj_out.weight"], before["proj_out.weight"])
