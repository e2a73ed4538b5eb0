"""Sounds and pictures in the log."""

from __future__ import annotations

import re
from pathlib import Path

import soundfile
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from consistency_tta.contracts import Batch
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.callbacks.run_dir import run_folder, tensorboard


def picture(mel: Tensor) -> Tensor:
    """A mel spectrogram (frames, bins) as a grey picture (1, bins, frames) in [0, 1]; low notes at the bottom."""
    low, high = mel.min(), mel.max()
    return ((mel - low) / (high - low).clamp_min(1e-6)).T.flip(0)[None].cpu()


class LogSounds(Callback):
    """Logs what a training sounds and looks like, for the first clips of each validation.

    TensorBoard gets audio and spectrograms; with any other logger, or none, wav files go to ``<log folder>/sounds/``.

    Args:
        num_sounds: how many.
        every_n_validations: how often; generating takes time.
    """

    def __init__(self, num_sounds: int = 4, every_n_validations: int = 1) -> None:
        self.num_sounds = num_sounds
        self.every_n_validations = every_n_validations
        self.validations = 0

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log the first batch's sounds."""
        if batch_idx or trainer.sanity_checking or not isinstance(pl_module, TrainingModule):
            return
        self.validations += 1
        if (self.validations - 1) % self.every_n_validations == 0:
            folder = run_folder(trainer) / "sounds"
            # Where weights are sharded, all processes gather them together.
            if trainer.is_global_zero or pl_module.sharded is not None:
                with torch.no_grad():
                    previews = pl_module.previews(batch.first(self.num_sounds))
                if trainer.is_global_zero:
                    self.write(folder, trainer, pl_module, previews)

    def write(self, folder: Path, trainer: Trainer, pl_module: TrainingModule, previews: list[Preview]) -> None:
        """Write the previews to TensorBoard, or to wav files in a folder."""
        step, rate, writer = trainer.global_step, pl_module.sample_rate, tensorboard(trainer)
        for index, preview in enumerate(previews):
            label = re.sub(r"[^\w-]+", "_", preview.name)[:60]
            if writer is not None:
                writer.add_image(f"spectrogram/{index}_{label}", picture(preview.mel), step)
                if preview.waveform is not None:
                    writer.add_audio(f"sound/{index}_{label}", preview.waveform[None].cpu(), step, sample_rate=rate)
            elif preview.waveform is not None:
                folder.mkdir(parents=True, exist_ok=True)
                soundfile.write(
                    folder / f"step{step:07d}_{index}_{label}.wav", preview.waveform.cpu().clamp(-1, 1).numpy(), rate
                )
