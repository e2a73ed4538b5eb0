"""A training checkpoint to a model folder."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.earlier_versions import upgrade_checkpoint


def export(checkpoint: Path, output: Path, half: bool = False) -> Path:
    """Write the model of a checkpoint as a folder that ``generate`` and further trainings read.

    Args:
        checkpoint: a ``.ckpt`` file of any training of this project; the folders it was trained from must still be
            there.
        output: folder to write.
        half: whether to store weights in float16, at half the size.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {checkpoint}: look for .ckpt files below the trainer's default_root_dir"
        )
    module = load_training(checkpoint)
    pipeline = module.pipeline()
    if half:
        halve(pipeline.components.values())
    pipeline.save_pretrained(output)
    print(f"{type(module).__name__} of {checkpoint} written to {output}")
    return output


def load_training(checkpoint: Path) -> TrainingModule:
    """The training that a checkpoint holds, one of version 0.1 read as today's."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    upgraded = upgrade_checkpoint(content)
    if upgraded is content:
        return training_class(checkpoint).load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    with TemporaryDirectory() as folder:
        file = Path(folder) / checkpoint.name
        torch.save(upgraded, file)
        return training_class(file).load_from_checkpoint(file, map_location="cpu", weights_only=True)


def halve(parts: Iterable[object]) -> None:
    """Turn the weights of a model's parts to float16, in place; they are float32 again when loaded."""
    for part in parts:
        # Mel filters and guidance frequencies are not weights: they are small, and are needed exactly.
        if isinstance(part, nn.Module) and any(True for _ in part.parameters()):
            part.half()


def class_of_checkpoint(checkpoint: Path) -> str | None:
    """Full path of the class that wrote a checkpoint under the command line; None if it was written from Python."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return content.get("hyper_parameters", {}).get("_class_path")


def training_class(checkpoint: Path) -> type[TrainingModule]:
    """The class that wrote a checkpoint under the command line.

    Raises:
        CheckpointError: if the checkpoint does not name it.
    """
    class_path = class_of_checkpoint(checkpoint)
    if class_path is None:
        raise CheckpointError(
            f"{checkpoint} was not written by `consistency-tta fit` and does not name its class: in Python, load it "
            "with that class's load_from_checkpoint and call .pipeline().save_pretrained(folder)"
        )
    module, _, name = class_path.rpartition(".")
    return getattr(import_module(module), name)
