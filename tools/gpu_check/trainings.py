"""Trainings of the recipes: with the bundled models, or of full size with random weights; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader

from consistency_tta.cli.commands import COMMANDS
from consistency_tta.cli.own_commands import load
from consistency_tta.contracts import Batch
from consistency_tta.planning.command import unloaded_models
from consistency_tta.planning.parts import all_modules
from consistency_tta.planning.variants import example_batch
from consistency_tta.training import CombinedObjective
from consistency_tta.training.base import TrainingModule
from tools.gpu_check import ROOT

#: The bundled models in the place of what earlier steps of the tiny family train.
BUNDLED: dict[str, dict[str, str]] = {
    "autoencoder": {},
    "decoder": {"model": "tiny-teacher"},
    "clap": {},
    "perceptual": {"model": "tiny-teacher", "losses.perceptual.init_args.encoder.init_args.model": "tiny-clap"},
    "vocoder": {"model": "tiny-teacher"},
    "teacher": {"model": "tiny-teacher"},
    "guidance": {"teacher": "tiny-teacher"},
    "consistency": {"teacher": "tiny-teacher", "student.folder": "tiny-student"},
    "audio": {
        "teacher": "tiny-teacher",
        "student.folder": "tiny-student",
        "losses.clap.init_args.encoder.init_args.model": "tiny-clap",
    },
}


@dataclass
class Training:
    """A recipe's parts; its datamodule is not set up, and its trainer is settings."""

    module: TrainingModule
    data: LightningDataModule
    trainer: Mapping[str, Any]

    def batch(self, rows: int, tokens: int = 24) -> Batch:
        """Random waveforms or latents with captions, on the CPU; the same in each call."""
        batch = example_batch(self.module, self.data, rows, tokens)
        generator = torch.Generator().manual_seed(0)
        for name in ("waveform", "moments"):
            if (value := getattr(batch, name)) is not None:
                setattr(batch, name, 0.1 * torch.randn(value.shape, generator=generator))
        return batch


def tiny(stage: str) -> Training:
    """A training of the tiny family, with the bundled models' weights; all its objectives learn from the first step."""
    training = _training(f"tiny/{stage}", *(f"--model.{key}={value}" for key, value in BUNDLED[stage].items()))
    objective = getattr(training.module, "objective", None)
    if isinstance(objective, CombinedObjective):
        objective.weights = dict.fromkeys(objective.weights, 1.0)
    return training


#: What draws in ``torch.nn.init``, which under a mode hands itself on, not the method of a tensor that it calls.
DRAWING = {
    "uniform_",
    "normal_",
    "trunc_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "xavier_uniform_",
    "xavier_normal_",
}


class WithoutRandomWeights(TorchFunctionMode):
    """Makes new tensors zero where random numbers would be drawn into them."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Pass on everything else."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") not in DRAWING:
            return func(*args, **kwargs)
        # Matrices are drawn later, on the device. What memory held before may be NaN, and would last in biases and in
        # what is computed from matrices as a module is made: the embedding of the empty caption.
        with torch.no_grad():
            return (kwargs["tensor"] if "tensor" in kwargs else args[0]).zero_()


def full(stage: str, device: str, family: str = "audiocaps") -> Training:
    """A training with random weights that are drawn on the device; reads no weights.

    Args:
        stage: name of the recipe.
        device: torch's name.
        family: of the recipe; ``audiocaps`` has full size.
    """
    recipe = f"{family}/{stage}"
    with unloaded_models(_parser(), [_file(recipe)]).installed(), WithoutRandomWeights():
        training = _training(recipe)
    training.module.to(device)
    parameters = (p for part in all_modules(training.module) for p in part.parameters(recurse=False))
    with torch.no_grad():
        for matrix in (p for p in parameters if p.ndim > 1):
            matrix.normal_(std=0.02)
    return training


def fit(
    training: Training, data: Sequence[Batch] | LightningDataModule, steps: int, setting: Any, **settings: Any
) -> Trainer:
    """Train for some steps on one device, in float32, without logs.

    Args:
        training: which.
        data: a batch for each step, or a datamodule.
        steps: optimizer steps, those before a checkpoint included.
        setting: whose device is used.
        **settings: further arguments of Lightning's trainer; ``ckpt_path`` of its ``fit``.
    """
    checkpoint = settings.pop("ckpt_path", None)
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    defaults = {"devices": 1, "max_steps": steps, "limit_val_batches": 0, "log_every_n_steps": 1000}
    with TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator=torch.device(setting.device).type,
            default_root_dir=folder,
            **(dict.fromkeys(quiet, False) | defaults | settings),
        )
        if isinstance(data, LightningDataModule):
            trainer.fit(training.module, datamodule=data, ckpt_path=checkpoint)
        else:
            trainer.fit(training.module, DataLoader(data, batch_size=None))  # type: ignore[arg-type]  # a list
    return trainer


@cache
def _parser() -> Any:
    return load("plan", COMMANDS["plan"])[1]


def _file(recipe: str) -> Path:
    return ROOT / "lightning_configs" / f"{recipe}.yaml"


def _training(recipe: str, *overrides: str) -> Training:
    torch.manual_seed(0)  # new layers of a student are random
    settings = _parser().instantiate(_parser().parse_args(["--config", str(_file(recipe)), *overrides]))
    return Training(settings.model, settings.data, settings.trainer)
