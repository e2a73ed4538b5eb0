"""A training checkpoint to a model folder."""

from __future__ import annotations

from pathlib import Path

import torch

from consistency_tta.training.base import TrainingModule


def export(checkpoint: Path, output: Path, half: bool = False) -> Path:
    """Write the model of a checkpoint as a folder that ``generate`` and further trainings read.

    Args:
        checkpoint: a ``.ckpt`` file of any training of this project; the folders it was trained from must still be there.
        output: folder to write.
        half: whether to store weights in float16, at half the size.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"no checkpoint at {checkpoint}: look for .ckpt files below the trainer's default_root_dir")
    module = TrainingModule.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    pipeline = module.pipeline()
    if half:
        pipeline.to(torch.float16)
    pipeline.save_pretrained(output)
    print(f"{type(module).__name__} of {checkpoint} written to {output}")
    return output
