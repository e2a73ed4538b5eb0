"""Sounds and pictures in the log, and a model folder at the end."""

from __future__ import annotations

import re
from pathlib import Path

import soundfile
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from consistency_tta.contracts import Batch
from consistency_tta.pipeline.finite_weights import check_finite
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.best_under_constraints import BestUnderConstraints, exported_weights
from consistency_tta.training.callbacks.nonfinite_steps import SkipNonFiniteSteps
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.callbacks.run_dir import run_folder, tensorboard
from consistency_tta.training.training_record import data_facts, metric_values, record_training


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


class ExportFolder(Callback):
    """Writes the model folder when training ends; not after ``fast_dev_run``, which would replace a trained model.

    The weights are the averages of the last step, or those that ``BestUnderConstraints`` has kept. The model's card
    says what the run knows: steps, data, teacher, objective, losses, rewards and the last values of validations.

    Args:
        folder: where to.
        license: of the weights, for the card, by the hub's name such as ``mit``; null if it is not decided.
    """

    def __init__(self, folder: str, license: str | None = None) -> None:  # noqa: A002  # diffusers' name
        self.folder = folder
        self.license = license

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the folder.

        Raises:
            ConfigurationError: if more steps were skipped than taken.
            ModelFolderError: if a weight is not finite.
        """
        if not isinstance(pl_module, TrainingModule):
            return
        # Where weights are sharded, all processes gather them together.
        if not trainer.is_global_zero and pl_module.sharded is None:
            return
        if getattr(trainer, "fast_dev_run", False):
            rank_zero_info(f"fast_dev_run: no model is written to {self.folder}")
            return
        callbacks = getattr(trainer, "callbacks", [])
        for callback in callbacks:
            if isinstance(callback, SkipNonFiniteSteps):
                callback.check(trainer)
        with exported_weights(trainer, pl_module):
            pipeline = pl_module.pipeline()
            if trainer.is_global_zero:
                check_finite(pipeline.components, self.folder)
                guards = [c for c in callbacks if isinstance(c, BestUnderConstraints) and c.weights is not None]
                record_training(
                    pipeline,
                    pl_module,
                    steps=trainer.global_step,
                    weights="of the best validation, by BestUnderConstraints" if guards else None,
                    data=data_facts(getattr(trainer, "datamodule", None)),
                    metrics=metric_values(getattr(trainer, "callback_metrics", {})),
                )
                pipeline.save_pretrained(self.folder, license=self.license)
        rank_zero_info(f"model folder written to {self.folder}")
