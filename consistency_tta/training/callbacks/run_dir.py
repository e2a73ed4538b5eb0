"""Where callbacks leave what they make."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer


def run_folder(trainer: Trainer) -> Path:
    """The run's folder. All processes must call this: the first one broadcasts its folder."""
    return Path(trainer.log_dir or trainer.default_root_dir)
