"""What a training's checkpoints hold beside weights and optimizer, and what a resumed run takes from them."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn

from consistency_tta.training.checkpoint_file import (
    FORMAT,
    FORMAT_KEY,
    OPTIMIZED_KEY,
    check_finite_weights,
    check_formats,
)
from consistency_tta.training.loss_states import counters, restore_loss_states, store_loss_states, warn_of_counters
from consistency_tta.training.optimizer import check_loaded_state
from consistency_tta.training.position import accumulated_batches, restore_position, store_position
from consistency_tta.training.training_record import FACTS_KEY, run_facts
from consistency_tta.training.weighted_losses import WeightedLosses


class StoredTraining(LightningModule):
    """A training that a checkpoint describes wholly, so that it goes on exactly."""

    def __init__(self) -> None:
        super().__init__()
        #: Numbers that losses kept when training began, until they have been compared.
        self.counters: dict[str, int | float] = {}

    def on_train_start(self) -> None:
        """Check the optimizer's state of a run that is resumed; note the numbers that losses keep."""
        if isinstance(losses := getattr(self, "losses", None), WeightedLosses):
            self.counters = counters(losses)
        # Lightning asks a GradientAccumulationScheduler where an epoch begins, not where a run enters one.
        self.trainer.accumulate_grad_batches = accumulated_batches(self.trainer, self.current_epoch)
        if self.trainer.ckpt_path:
            for optimizer in self.trainer.optimizers:
                check_loaded_state(optimizer, self.trainer.ckpt_path)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the format, the position, from which a resumed run goes on exactly, and facts for checks and cards."""
        checkpoint[FORMAT_KEY] = FORMAT
        checkpoint[FACTS_KEY] = run_facts(self.trainer)
        if "optimizer_states" in checkpoint:  # not where weights alone are saved
            checkpoint[OPTIMIZED_KEY] = [len(state.get("state", {})) for state in checkpoint["optimizer_states"]]
        store_position(checkpoint, self.trainer)
        if isinstance(losses := getattr(self, "losses", None), WeightedLosses):
            store_loss_states(checkpoint, losses)
            warn_of_counters(self.counters, losses)
            self.counters = {}  # once

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Set the counters of a run that is resumed, and the state of losses without parameters."""
        if isinstance(losses := getattr(self, "losses", None), WeightedLosses):
            restore_loss_states(checkpoint, losses)
        resumed = self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        check_formats(checkpoint["state_dict"], self.state_dict(), exact=resumed)
        if self._trainer is not None:
            check_finite_weights(checkpoint["state_dict"], self.trainer.ckpt_path)
            if resumed:
                restore_position(checkpoint, self.trainer)

    def _set_hparams(self, hp: Any) -> None:
        """Keep only plain hyperparameters.

        Under the command line all of them are (they are the YAML). Objects passed from Python are not: Lightning would
        keep a deep copy of each network, and checkpoints could not be loaded with ``weights_only=True``. They are given
        again to ``load_from_checkpoint``.
        """
        super()._set_hparams({name: value for name, value in dict(hp).items() if _is_plain(value)})


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)
