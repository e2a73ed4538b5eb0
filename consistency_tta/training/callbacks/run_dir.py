"""Where callbacks leave what they make."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from consistency_tta.storage.kept_folder import make_room


def run_folder(trainer: Trainer) -> Path:
    """The run's folder. All processes must call this: the first one broadcasts its folder."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def claim_run_folder(trainer: Trainer) -> None:
    """Make the run's folder, such as ``version_3``, so that another run that begins at the same time takes the next.

    Lightning looks for a number that is free, and makes the folder later: two runs would share logs and ``last.ckpt``.
    In a folder that the configuration names, it would remove the log of the run before: that is renamed.

    Raises:
        OSError: if the folder cannot be made.
    """
    logger = trainer.logger
    while (
        trainer.is_global_zero
        and isinstance(logger, CSVLogger | TensorBoardLogger)
        and logger._version is None  # else the configuration names it
        and "://" not in logger.log_dir
    ):
        folder = Path(logger.log_dir)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.exists():  # a link to nothing is in the way
                raise
            logger._version = None
    for one in trainer.loggers:
        if trainer.is_global_zero and isinstance(one, CSVLogger) and "://" not in one.log_dir:
            for name in ("metrics.csv", "config.yaml"):
                make_room(Path(one.log_dir) / name)
