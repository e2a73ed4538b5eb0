"""A progress bar over a whole run."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Timer, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class TimedBar(Tqdm):
    """A bar whose remaining time is that of the steps left or, where a timer ends the run earlier, the timer's.

    Attributes:
        timer: Lightning's of ``max_time``, if there is one.
    """

    timer: Timer | None = None

    @property
    def format_dict(self) -> dict[str, Any]:
        """The values of the bar's format; ``left`` is the remaining time."""
        values = super().format_dict  # of a bar that is switched off some are None
        done, total, elapsed = values["n"] - (values["initial"] or 0), values["total"], values["elapsed"]
        rate = values["rate"] or (done / elapsed if elapsed else 0)
        ends = [(total - values["n"]) / rate] if total and rate else []
        if self.timer is not None and (until := self.timer.time_remaining()) is not None:
            ends.append(max(until, 0.0))
        return values | {"left": self.format_interval(min(ends)) if ends else "?"}


class StepProgressBar(TQDMProgressBar):
    """One bar over all steps of a run, where Lightning's begins anew with each epoch, which may last a few steps only.

    It bears the name of the run's folder, counts optimizer steps, and shows the time left until ``max_steps``,
    ``max_epochs`` or ``max_time``, whichever comes first.
    """

    @property
    def total_train_batches(self) -> int | float:
        """Optimizer steps of the run; infinite if neither steps nor epochs limit it."""
        steps = self.trainer.estimated_stepping_batches
        return steps if steps > 0 else math.inf  # of endless data -1

    def init_train_tqdm(self) -> Tqdm:
        """The bar of the run."""
        bar = TimedBar(
            desc=run_name(self.trainer),
            position=2 * self.process_position,
            disable=self.is_disabled,
            leave=True,
            dynamic_ncols=True,
            file=sys.stdout,
            smoothing=0,
            bar_format=self.BAR_FORMAT.replace("{remaining}", "{left}"),
        )
        callbacks = getattr(self.trainer, "callbacks", [])
        bar.timer = next((callback for callback in callbacks if isinstance(callback, Timer)), None)
        return bar

    def on_train_start(self, *args: Any) -> None:
        """Make the bar of the run."""
        super().on_train_start(*args)
        total = self.total_train_batches
        self.train_progress_bar.total = None if total == math.inf else total

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Leave the bar as it is; Lightning begins it anew."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the run's steps."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, trainer.global_step - 1)


def run_name(trainer: Trainer) -> str:
    """What the bar is called: the last folder of ``default_root_dir``, or the training's class where none is given."""
    folder = Path(trainer.default_root_dir)
    return folder.name if folder.resolve() != Path.cwd() else type(trainer.lightning_module).__name__
