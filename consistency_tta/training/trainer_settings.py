"""Settings of the trainer that Lightning takes without a word, though they cannot be meant."""

from __future__ import annotations

from pathlib import PurePath

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint, StochasticWeightAveraging, WeightAveraging

from consistency_tta.runtime.errors import ConfigurationError

#: Settings of the trainer and their least values; null is none of them.
LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,  # a negative norm would turn the gradients round
    "log_every_n_steps": 0,
    "num_sanity_val_steps": 0,
}


def check_settings(trainer: Trainer) -> None:
    """Raise if a setting of the trainer cannot be meant, which Lightning takes without a word.

    Raises:
        ConfigurationError: names the option.
    """
    for name, least in LEAST.items():
        value = getattr(trainer, name, None)
        if value is not None and not value >= least:
            raise ConfigurationError(f"expected --trainer.{name} of at least {least}, got {value}")
    if getattr(trainer, "val_check_interval", None) == 0:
        raise ConfigurationError(
            "expected a --trainer.val_check_interval of some batches, or of a share of an epoch, got 0: to leave "
            "validation out, set limit_val_batches to 0"
        )
    for logger in getattr(trainer, "loggers", []):
        for name in ("name", "version"):  # the properties would look for a free number
            place = PurePath(str(getattr(logger, f"_{name}", "")))
            if place.is_absolute() or ".." in place.parts:
                raise ConfigurationError(
                    f"expected a {name} below the save_dir of {type(logger).__name__}, got {place}: set save_dir"
                )
    for callback in getattr(trainer, "callbacks", []):
        place = PurePath(getattr(callback, "filename", None) or "")
        if isinstance(callback, Checkpoint) and (place.is_absolute() or ".." in place.parts):
            raise ConfigurationError(
                f"expected a filename below the run's folder for {type(callback).__name__}, got {place}: name another "
                "folder as its dirpath"
            )
        # They would average the averages, too, and put theirs in the place of what a checkpoint goes on with.
        if isinstance(callback, StochasticWeightAveraging | WeightAveraging):
            raise ConfigurationError(
                f"expected no {type(callback).__name__}: the weights that are validated and exported are averages "
                "already, by --model.ema_decay; leave the callback out"
            )
