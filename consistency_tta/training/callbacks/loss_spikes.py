"""A warning where the loss jumps, with the checkpoint from before."""

from __future__ import annotations

import logging
import math
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.checkpoint_search import go_on_from

log = logging.getLogger(__name__)


class LossSpikes(Callback):
    """Warns where the training's loss is far above its recent values, and names the last checkpoint before that.

    A step's loss is compared with the mean and the mean absolute deviation of the steps before it, both exponential
    moving averages. Losses are read from the device only at the steps that Lightning logs; if it logs none
    (``log_every_n_steps`` 0), no loss is compared.

    Args:
        deviations: by how many mean absolute deviations a loss must exceed the mean. The loss of a training varies with
            the noise level of its batches, by ten deviations in an ordinary run.
        memory: how many steps the averages look back. No warning comes within so many steps of the beginning, or of
            the warning before.
    """

    def __init__(self, deviations: float = 50.0, memory: int = 100) -> None:
        if not deviations > 0 or memory < 1:
            raise ConfigurationError(
                f"expected deviations above 0 and a memory of at least 1, got {deviations} and {memory}"
            )
        self.deviations = deviations
        self.memory = memory
        self.unread: list[tuple[int, Tensor]] = []
        self.num_losses = 0
        self.mean = self.deviation = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the step's loss; at a step that is logged, read and compare those kept."""
        every = cast(Any, trainer).log_every_n_steps
        if not every:
            return
        if isinstance(outputs, dict) and isinstance(loss := outputs.get("loss"), Tensor):
            self.unread.append((trainer.global_step, loss.detach()))
        if self.unread and trainer.global_step % every == 0:
            steps, losses = zip(*self.unread, strict=True)
            self.unread = []
            for step, value in zip(steps, torch.stack(losses).tolist(), strict=True):
                self._compare(trainer, step, value)

    def _compare(self, trainer: Trainer, step: int, loss: float) -> None:
        """Compare a loss with the averages, and update them."""
        if not math.isfinite(loss):
            return  # SkipNonFiniteSteps counts these
        limit = self.mean + self.deviations * max(self.deviation, 1e-6 * abs(self.mean))
        if self.num_losses >= self.memory and loss > limit:
            if trainer.is_global_zero:
                log.warning(
                    "the loss was %.4g at step %d, after %.4g on average: look at train/loss; lower the learning rate, "
                    "or clip gradients (--trainer.gradient_clip_val); %s",
                    *(loss, step, self.mean, go_on_from(trainer, step - 1)),
                )
            self.num_losses = 0
        self.num_losses += 1
        weight = max(1 / self.num_losses, 1 / self.memory)
        self.deviation += weight * (abs(loss - self.mean) * (self.num_losses > 1) - self.deviation)
        self.mean += weight * (loss - self.mean)
