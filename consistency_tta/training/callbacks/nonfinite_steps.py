"""No step is taken on a gradient that is not finite."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from consistency_tta.runtime.errors import ConfigurationError


class SkipNonFiniteSteps(Callback):
    """Skips optimizer steps whose gradients have NaN or infinite entries, counts them, stops after too many in a row.

    The gradients are looked at after they were summed over processes, so that all ranks agree. Dropped gradients
    leave weights, optimizer state and averages as they were.

    Args:
        max_in_a_row: how many consecutive steps may be skipped before training stops with an error.
    """

    def __init__(self, max_in_a_row: int = 20) -> None:
        if max_in_a_row < 1:
            raise ConfigurationError(f"expected max_in_a_row of at least 1, got {max_in_a_row}")
        self.max_in_a_row = max_in_a_row
        self.skipped = 0
        self.in_a_row = 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Drop the gradients if one is not finite."""
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # One number per gradient, read once: the only wait for the device in a step.
        finite = all(torch.isfinite(torch.stack(torch._foreach_norm(gradients, ord=1))).tolist()) if gradients else True
        self.in_a_row = 0 if finite else self.in_a_row + 1
        if not finite:
            self.skipped += 1
            optimizer.zero_grad(set_to_none=True)
        pl_module.log("train/skipped_steps", float(self.skipped))
        if self.in_a_row >= self.max_in_a_row:
            raise FloatingPointError(
                f"{self.in_a_row} steps in a row had gradients that are not finite (last: step {trainer.global_step}; "
                f"{self.skipped} skipped in all); the weights are those before them. Lower the learning rate, "
                "train in float32, or look for clips that are not finite with `consistency-tta data-check`."
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fail where the run diverged."""
        self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Raise if the run diverged.

        Raises:
            ConfigurationError: if more steps were skipped than taken. With a learning rate such as 1e10, the first step
                is taken, and leaves weights with which no other can be.
        """
        if 2 * self.skipped > trainer.global_step:
            raise ConfigurationError(
                f"{self.skipped} of {trainer.global_step} steps had gradients that are not finite, so the model is not "
                "usable: lower the learning rate, train in float32, or look for clips that are not finite with "
                "`consistency-tta data-check`"
            )

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue counting."""
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]
