"""Settings of the trainer that Lightning takes without a word, though they cannot be meant."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging

from consistency_tta.runtime.errors import ConfigurationError


def check_settings(trainer: Trainer) -> None:
    """Raise if a setting of the trainer cannot be meant, which Lightning takes without a word.

    Raises:
        ConfigurationError: names the option.
    """
    for name, least in (("accumulate_grad_batches", 1), ("gradient_clip_val", 0), ("num_sanity_val_steps", 0)):
        value = getattr(trainer, name, None)
        if value is not None and not value >= least:  # a negative norm would turn the gradients round
            raise ConfigurationError(f"expected --trainer.{name} of at least {least}, got {value}")
    for callback in getattr(trainer, "callbacks", []):
        # They would average the averages, too, and put theirs in the place of what a checkpoint goes on with.
        if isinstance(callback, StochasticWeightAveraging | WeightAveraging):
            raise ConfigurationError(
                f"expected no {type(callback).__name__}: the weights that are validated and exported are averages "
                "already, by --model.ema_decay; leave the callback out"
            )
