"""A progress bar over a whole run."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar


class StepProgressBar(TQDMProgressBar):
    """One bar over all steps of a run, where Lightning's begins anew with each epoch, which may last a few steps only.

    For runs that are limited by ``max_steps``; in others it is Lightning's.
    """

    @property
    def total_train_batches(self) -> int | float:
        """Steps of the run."""
        return self.trainer.max_steps if self.trainer.max_steps > 0 else super().total_train_batches

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Begin the bar in the first epoch."""
        if trainer.max_steps <= 0:
            super().on_train_epoch_start(trainer, *args)
        elif self.train_progress_bar.total is None:
            super().on_train_epoch_start(trainer, *args)
            self.train_progress_bar.set_description("Training")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the run's steps."""
        done = batch_idx if trainer.max_steps <= 0 else trainer.global_step - 1
        super().on_train_batch_end(trainer, pl_module, outputs, batch, done)
