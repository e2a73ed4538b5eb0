"""Folders of checkpoints that no other run may write to."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.folder_lock import hold_folder, release_folders


class HoldCheckpointFolders(Callback):
    """Holds the folders of all ``ModelCheckpoint``s while a run lasts, so that its files stay its own.

    Two runs at once with one ``dirpath`` would replace each other's ``last.ckpt``, and go on from it. Of several
    processes the first holds them.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take them.

        Raises:
            ConfigurationError: on all processes, if another run writes to one, or it cannot be written to.
        """
        fault = ""
        if trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False):
            try:
                for folder in checkpoint_dirs(trainer):
                    hold_folder(folder)
            except ConfigurationError as error:
                fault = str(error)
        if fault := trainer.strategy.broadcast(fault):
            raise ConfigurationError(fault)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave them."""
        release_folders()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave them."""
        release_folders()


def checkpoint_dirs(trainer: Trainer) -> list[Path]:
    """Folders of this machine's files that ``ModelCheckpoint``s write to; before a run those that are named."""
    places = (getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks)
    return [Path(place) for place in places if place and "://" not in str(place)]
