"""Where a training stands, and Lightning's counters for a run that starts there.

Lightning stores dozens of counters, whose meaning depends on the hook in which a checkpoint was saved; for some hooks
the resumed run repeats or leaves out batches. A checkpoint of this project also stores the position itself, which is
the same whenever the checkpoint was saved between two optimizer steps. Resuming sets all counters from it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from consistency_tta.runtime.errors import CheckpointError

#: The key of the position in a checkpoint.
KEY = "position"


@dataclass(frozen=True)
class Position:
    """The next batch to train on.

    Attributes:
        step: optimizer steps taken.
        epoch: of the next batch, counted from 0.
        batch: its index in the epoch; always the first of the batches whose gradients are accumulated for a step.
        total_batches: batches trained on before it, in all epochs.

    Raises:
        CheckpointError: if a value is no integer of at least 0.
    """

    step: int
    epoch: int
    batch: int
    total_batches: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or value < 0:
                raise CheckpointError(f"expected an integer of at least 0 as the position's {name}, got {value!s:.20}")


def current_position(trainer: Trainer) -> Position | None:
    """The position of a training; None where the length of an epoch is not known."""
    batches = trainer.num_training_batches
    if math.isinf(batches):
        return None
    fit, loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    steps = loop.automatic_optimization.optim_progress.optimizer.step.current.completed
    # Between epochs, `started` and the steps are still those of the epoch before.
    epochs: Any = fit.epoch_progress.total
    epoch = max(0, (epochs.started if steps else epochs.ready) - 1)
    batch = steps * trainer.accumulate_grad_batches
    before = loop.batch_progress.total.ready - loop.batch_progress.current.ready
    if batch >= batches:
        return Position(trainer.global_step, epoch + 1, 0, before + int(batches))
    return Position(trainer.global_step, epoch, batch, before + batch)


def store_position(checkpoint: dict[str, Any], trainer: Trainer) -> None:
    """Add the position to a checkpoint."""
    position = current_position(trainer)
    if position is not None:
        checkpoint[KEY] = asdict(position)


def accumulated_batches(trainer: Trainer, epoch: int) -> int:
    """Batches of a step in an epoch, where a callback may change them from epoch to epoch."""
    for callback in getattr(trainer, "callbacks", []):
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.get_accumulate_grad_batches(epoch)
    return trainer.accumulate_grad_batches


def stored_position(checkpoint: dict[str, Any]) -> Position | None:
    """The position in a checkpoint; None in one without (of version 0.1).

    Raises:
        CheckpointError: if it does not go with the checkpoint's own step and epoch, or with itself.
    """
    if KEY not in checkpoint:
        return None
    try:
        position = Position(**checkpoint[KEY])
    except TypeError as error:
        raise CheckpointError(f"expected a position of four integers, got {checkpoint[KEY]!s:.80}") from error
    if position.step != checkpoint["global_step"]:
        raise CheckpointError(
            f"expected the position's step to be the checkpoint's {checkpoint['global_step']}, got {position.step}"
        )
    # Lightning's epoch is the number of those that ended: one less in the hooks of an epoch's end, and one more where
    # `max_steps` ended the training within an epoch.
    ahead = position.epoch - checkpoint["epoch"]
    if not (ahead == 0 or (ahead == 1 and position.batch == 0) or (ahead == -1 and position.batch > 0)):
        raise CheckpointError(
            f"expected a position in epoch {checkpoint['epoch']} or at the next one's start, got {position}"
        )
    if position.batch > position.total_batches or (position.epoch == 0 and position.batch < position.total_batches):
        raise CheckpointError(f"expected a position whose batches are among all those before it, got {position}")
    return position


def restore_position(checkpoint: dict[str, Any], trainer: Trainer) -> None:
    """Set Lightning's counters in a checkpoint, before Lightning reads them, to those of its position.

    A checkpoint without a position (of version 0.1) stays as it is.

    Raises:
        CheckpointError: as :func:`stored_position`.
    """
    position = stored_position(checkpoint)
    if position is None:
        return
    state = checkpoint["loops"]["fit_loop"]
    accumulated = accumulated_batches(trainer, position.epoch)
    # Lightning runs `on_train_epoch_start` for an epoch that is ready but not started.
    started = position.epoch + (position.batch > 0)
    for scope in ("total", "current"):
        state["epoch_progress"][scope] = {
            "ready": position.epoch + 1,
            "started": started,
            "processed": position.epoch,
            "completed": position.epoch,
        }
    # As Lightning stores them in `on_train_batch_end`: it counts the last batch as completed when it resumes.
    for scope, seen in (("total", position.total_batches), ("current", position.batch)):
        state["epoch_loop.batch_progress"][scope] = {
            "ready": seen,
            "started": seen,
            "processed": seen,
            "completed": seen - 1,
        }
    state["epoch_loop.batch_progress"]["is_last_batch"] = False
    # This one is increased at the same time, if a step ended there.
    stepped = position.batch % accumulated == 0
    state["epoch_loop.state_dict"]["_batches_that_stepped"] = position.step - stepped
    optimizer = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    taken = position.batch // accumulated
    optimizer["step"] = {
        "total": {"ready": position.step, "completed": position.step},
        "current": {"ready": taken, "completed": taken},
    }
    zero = {"ready": 0, "started": 0, "processed": 0, "completed": 0}
    state["epoch_loop.val_loop.batch_progress"] = {"total": dict(zero), "current": dict(zero), "is_last_batch": False}
