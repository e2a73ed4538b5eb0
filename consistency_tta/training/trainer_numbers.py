"""Numbers of the trainer that Lightning takes without a word, though they cannot be meant."""

from __future__ import annotations

from lightning.pytorch import Trainer

from consistency_tta.runtime.errors import ConfigurationError


def check_numbers(trainer: Trainer) -> None:
    """Raise if a number of the trainer cannot be meant, which Lightning takes without a word.

    Raises:
        ConfigurationError: names the option.
    """
    for name, least in (("accumulate_grad_batches", 1), ("gradient_clip_val", 0)):
        value = getattr(trainer, name, None)
        if value is not None and not value >= least:  # a negative norm would turn the gradients round
            raise ConfigurationError(f"expected --trainer.{name} of at least {least}, got {value}")
