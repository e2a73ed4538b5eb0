"""Ends a training when its budget of network passes is spent."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import Distillation
from tools.arena.passes import PassCounter


class CountPasses(Callback):
    """Logs ``passes`` and ``cpu_seconds`` of a distillation, and stops it when the budget of passes is spent.

    Both are part of checkpoints, so that a resumed run goes on counting.

    Args:
        budget: passes after which training ends, at the end of a step.

    Raises:
        ConfigurationError: if the budget is not positive.
    """

    def __init__(self, budget: float) -> None:
        if budget <= 0:
            raise ConfigurationError(f"expected a budget of more than 0 passes, got {budget}")
        self.budget = budget
        self.counter = PassCounter()
        self.cpu_before, self.cpu_started = 0.0, time.process_time()

    @property
    def passes(self) -> float:
        """So far, those before a resumption included."""
        return self.counter.total

    @property
    def cpu_seconds(self) -> float:
        """CPU time of training so far, of all threads, those before a resumption included."""
        return self.cpu_before + time.process_time() - self.cpu_started

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set hooks; a finished run that is resumed ends at once."""
        assert isinstance(pl_module, Distillation)
        self.counter.enabled = False
        self.counter.watch_training(pl_module)
        self.cpu_started = time.process_time()
        trainer.should_stop = trainer.should_stop or self.passes >= self.budget

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count what follows."""
        self.counter.enabled = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log, and stop at the budget."""
        self.counter.enabled = False
        pl_module.log_dict({"passes": self.passes, "cpu_seconds": self.cpu_seconds})
        if self.passes >= self.budget:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the hooks."""
        self.counter.remove()

    def state_dict(self) -> dict[str, Any]:
        """Passes by network, and CPU seconds."""
        return {"counts": dict(self.counter.counts), "cpu_seconds": self.cpu_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.counter.counts = defaultdict(float, state_dict["counts"])
        self.cpu_before = state_dict["cpu_seconds"]
        self.cpu_started = time.process_time()
