"""Where callbacks leave what they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger


def run_folder(trainer: Trainer) -> Path:
    """The run's folder. All processes must call this: the first one broadcasts its folder."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def tensorboard(trainer: Trainer) -> Any | None:
    """The writer of the first TensorBoard logger, or None."""
    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return boards[0].experiment if boards else None
