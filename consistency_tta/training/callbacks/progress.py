"""A progress bar over a whole run."""

from __future__ import annotations

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

    It bears the name of the run's folder, and shows the time left until ``max_steps`` or ``max_time``, whichever comes
    first. For runs that are limited by ``max_steps``; in others it is Lightning's.
    """

    @property
    def total_train_batches(self) -> int | float:
        """Steps of the run."""
        return self.trainer.max_steps if self.trainer.max_steps > 0 else super().total_train_batches

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

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Begin the bar in the first epoch."""
        if trainer.max_steps <= 0:
            super().on_train_epoch_start(trainer, *args)
        elif self.train_progress_bar.total is None:
            super().on_train_epoch_start(trainer, *args)
            self.train_progress_bar.set_description(run_name(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the run's steps."""
        done = batch_idx if trainer.max_steps <= 0 else trainer.global_step - 1
        super().on_train_batch_end(trainer, pl_module, outputs, batch, done)


def run_name(trainer: Trainer) -> str:
    """What the bar is called: the last folder of ``default_root_dir``, or the training's class where none is given."""
    folder = Path(trainer.default_root_dir)
    return folder.name if folder.resolve() != Path.cwd() else type(trainer.lightning_module).__name__
