"""A teacher of any width, trained from nothing for some time on latents that were encoded beforehand."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from consistency_tta.cli import main as consistency_tta
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.checkpoint_search import newest_checkpoint
from tools.arena.configuration import duration


def train_teacher(
    folder: Path, base: str, latents: Path, channels: list[int], seconds: float, further: list[str]
) -> None:
    """Train a U-Net on the codec and the frozen text encoder of another model, and write its folder.

    One that was stopped goes on from its newest checkpoint; one that ended is left as it is.

    Args:
        folder: of the model.
        base: model folder or bundled name of a teacher with a text encoder.
        latents: folder with ``train``, encoded by the base's codec.
        channels: width of each level of the U-Net, multiples of 32; the last level attends to the caption.
        seconds: of training.
        further: arguments of ``fit``.
    """
    if (folder / "model_index.json").exists():
        return
    parts = TextToAudioPipeline.from_pretrained(base)
    shape, levels = parts.latent_shape, len(channels)
    network = {
        "latent_size": list(shape[1:]),
        "latent_channels": shape[0],
        "text_width": parts.text_encoder.config.hidden_size,
        "channels": channels,
        "attention": [False] * (levels - 1) + [True],
        "heads": [max(1, width // 32) for width in channels],
        "layers_per_block": 1,
        "norm_num_groups": min(16, channels[0]),
    }
    config: dict[str, Any] = {
        "seed_everything": 0,
        "model": {
            "class_path": "consistency_tta.training.LatentDiffusion",
            "init_args": {
                "model": base,
                "network": {"class_path": "consistency_tta.components.networks.unet", "init_args": network},
                "weighting": {"class_path": "consistency_tta.diffusion.weighting.MinSNR", "init_args": {"gamma": 5.0}},
                "ema_decay": 0.995,
                "optimization": {"learning_rate": 6.0e-4, "warmup_steps": 100},
            },
        },
        "data": {
            "class_path": "consistency_tta.datamodules.LatentsDataModule",
            "init_args": {"train_folder": str(latents / "train")},
        },
        "trainer": {
            "default_root_dir": str(folder.parent),
            "max_steps": -1,
            "max_epochs": -1,
            "max_time": duration(seconds),
            "gradient_clip_val": 1.0,
            "precision": "${fastest_precision:}",
            "limit_val_batches": 0,
            "num_sanity_val_steps": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "callbacks": [
                {"class_path": "consistency_tta.training.ExportFolder", "init_args": {"folder": str(folder)}},
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {
                        "dirpath": str(folder.parent / "run"),
                        "filename": "newest",
                        "every_n_train_steps": 200,
                        "enable_version_counter": False,
                    },
                },
            ],
        },
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / "config.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command = ["fit", "--config", str(file), *further]
    with suppress(CheckpointError):  # there is none yet
        command += ["--ckpt_path", str(newest_checkpoint(folder.parent / "run"))]
    consistency_tta(command)
