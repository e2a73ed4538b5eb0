"""No step is taken on a gradient that is not finite."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from consistency_tta.runtime.device import to_device
from consistency_tta.runtime.errors import ConfigurationError, DivergenceError
from consistency_tta.training.checkpoint_search import go_on_from
from consistency_tta.training.shards import local


class SkipNonFiniteSteps(Callback):
    """Skips optimizer steps whose gradients have NaN or infinite entries, counts them, stops after too many in a row.

    The gradients are examined after they were summed over processes, so that all ranks agree. A skipped step leaves
    weights, optimizer state and averages as they were. On an accelerator a fused optimizer skips it there, and nothing
    waits for the device: the counts are read only at the steps that are logged, for which Lightning waits in any case.

    Args:
        max_in_a_row: how many consecutive steps may be skipped before training stops with an error.
    """

    def __init__(self, max_in_a_row: int = 20) -> None:
        if max_in_a_row < 1:
            raise ConfigurationError(f"expected max_in_a_row of at least 1, got {max_in_a_row}")
        self.max_in_a_row = max_in_a_row
        # Steps skipped in all, in a row up to now, and the most in a row.
        self.counts = torch.zeros(3)

    @property
    def skipped(self) -> int:
        """Steps skipped in all; reading it waits for the device."""
        return int(self.counts[0])

    @property
    def in_a_row(self) -> int:
        """Steps skipped since the last that was taken; reading it waits for the device."""
        return int(self.counts[1])

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Skip the step if a gradient is not finite."""
        gradients = [local(p.grad) for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not gradients:
            return
        norms = torch.stack(torch._foreach_norm(gradients, ord=1))
        skip = (~norms.isfinite().all()).float()
        if getattr(pl_module, "sharded", None) is not None:  # each process has a part of the gradients
            torch.distributed.all_reduce(skip, torch.distributed.ReduceOp.MAX)
        skipped, in_a_row, most = to_device(self.counts, skip.device).unbind()
        in_a_row = skip * (in_a_row + 1)
        self.counts = torch.stack([skipped + skip, in_a_row, torch.maximum(most, in_a_row)])
        pl_module.log("train/skipped_steps", self.counts[0])
        optimizer.skipped_step = skip  # type: ignore[attr-defined]  # for `step_taken`
        if optimizer.defaults.get("fused"):
            optimizer.found_inf = skip  # type: ignore[attr-defined]  # torch's fused optimizers read it, others refuse it
        elif skip:
            optimizer.zero_grad(set_to_none=True)
        every = cast(Any, trainer).log_every_n_steps  # 0 for a trainer that does not log
        if skip.device.type == "cpu" or (every and (trainer.global_step + 1) % every == 0):
            self._stop_after_too_many(trainer)

    def _stop_after_too_many(self, trainer: Trainer) -> None:
        most = int(self.counts[2])
        if most >= self.max_in_a_row:
            raise DivergenceError(
                f"{most} steps in a row had gradients that are not finite (last: step {trainer.global_step}; "
                f"{self.skipped} skipped in all); the weights are those before them: lower the learning rate, "
                "train in float32, or look for clips that are not finite with `consistency-tta data-check`; "
                # This step is not counted yet. The row may have ended, where the counts are read with delay.
                f"{go_on_from(trainer, trainer.global_step + 1 - most)}"
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fail where the run diverged."""
        self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Raise if the run diverged.

        Raises:
            DivergenceError: if more steps were skipped than taken. With a learning rate such as 1e10, the first step
                is taken, and leaves weights with which no other can be.
        """
        if 2 * self.skipped > trainer.global_step:
            raise DivergenceError(
                f"{self.skipped} of {trainer.global_step} steps had gradients that are not finite, so the model is not "
                "usable: lower the learning rate, train in float32, or look for clips that are not finite with "
                f"`consistency-tta data-check`; {go_on_from(trainer, trainer.global_step - self.skipped)}"
            )

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue counting."""
        skipped, in_a_row = float(state_dict["skipped"]), float(state_dict["in_a_row"])
        self.counts = torch.tensor([skipped, in_a_row, in_a_row])


def step_taken(optimizer: Optimizer) -> Tensor | None:
    """Whether the last step was taken, 1 or 0 on the device; None where :class:`SkipNonFiniteSteps` was not in use."""
    skip: Tensor | None = getattr(optimizer, "skipped_step", None)
    return None if skip is None else 1 - skip
