"""Where callbacks leave what they make."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from consistency_tta.storage.folder_lock import check_folder_free, hold_folder
from consistency_tta.storage.kept_folder import keep_copy, make_room
from consistency_tta.training.callbacks.held_folders import checkpoint_dirs
from consistency_tta.training.callbacks.unused_folder import put_back, remove_beginning


def run_folder(trainer: Trainer) -> Path:
    """The run's folder. All processes must call this: the first one broadcasts its folder."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def claim_run_folder(trainer: Trainer, undo: ExitStack) -> None:
    """Make the run's folder, such as ``version_3``, so that another run that begins at the same time takes the next.

    Lightning looks for a number that is free, and makes the folder later: two runs would share logs and ``last.ckpt``.
    In a folder that the configuration names, no other run may write at the same time; the log and the ``config.yaml``
    of a run before are kept, which Lightning would remove and replace.

    Args:
        trainer: of the run.
        undo: is given what is to be done if the run does nothing, so that it leaves nothing.

    Raises:
        ConfigurationError: if another run is writing to a folder that the configuration names.
        OSError: if the folder cannot be made.
    """
    if getattr(trainer, "fast_dev_run", False):  # writes nothing
        return
    if trainer.is_global_zero:
        for place in checkpoint_dirs(trainer):
            check_folder_free(place)
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger | TensorBoardLogger) and "://" not in str(logger.root_dir):
                _claim(logger, undo)
    folder = run_folder(trainer)  # on all processes
    if trainer.is_global_zero and "://" not in str(folder):
        config = folder / "config.yaml"
        if (kept := keep_copy(config)) is not None or not trainer.loggers:
            undo.callback(put_back, kept, config)


def _claim(logger: CSVLogger | TensorBoardLogger, undo: ExitStack) -> None:
    """Make a logger's folder, or hold the one that the configuration names."""
    if logger._version is not None:
        folder = Path(logger.log_dir)
        if not folder.exists():
            undo.callback(remove_beginning, folder, not folder.parent.exists())
        hold_folder(folder)
    while logger._version is None:
        folder = Path(logger.log_dir)
        first = not folder.parent.exists()
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.exists():  # a link to nothing is in the way
                raise
            logger._version = None
        else:
            undo.callback(remove_beginning, folder, first)
    if isinstance(logger, CSVLogger):
        metrics = Path(logger.log_dir) / "metrics.csv"
        if (kept := make_room(metrics)) is not None:
            undo.callback(put_back, kept, metrics)
