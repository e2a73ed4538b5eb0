"""What a run that trains nothing leaves: no folder of its own, and in others what was there before."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

#: Files of a run's folder that are there before its first step.
BEGINNING = re.compile(r"config\.yaml|hparams\.yaml|events\.out\.tfevents\..*")


class UnusedFolder(Callback):
    """Notes whether a run has done anything, in this process or in one that it starts, such as one training step."""

    def __init__(self) -> None:
        self._used = torch.zeros((), dtype=torch.bool).share_memory_()
        self._trained = torch.zeros((), dtype=torch.bool).share_memory_()

    @property
    def trained(self) -> bool:
        """Whether there are training steps at the end of ``fit``, which an earlier run may have taken."""
        return bool(self._trained)

    @property
    def used(self) -> bool:
        """Whether a batch was done, or a checkpoint written; batches of the sanity check do not count."""
        return bool(self._used)

    def on_train_batch_end(self, *args: Any) -> None:
        """A training step."""
        self._used.fill_(True)

    def on_save_checkpoint(self, *args: Any) -> None:
        """A checkpoint, of a run that was stopped before its first step."""
        self._used.fill_(True)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """A batch of ``validate``."""
        if not trainer.sanity_checking:
            self._used.fill_(True)

    def on_test_batch_end(self, *args: Any) -> None:
        """A batch of ``test``."""
        self._used.fill_(True)

    def on_predict_batch_end(self, *args: Any) -> None:
        """A batch of ``predict``."""
        self._used.fill_(True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The end: the trainer of a process that has started others does not know their step."""
        if stage == "fit" and trainer.global_step:
            self._trained.fill_(True)


def remove_beginning(folder: Path, first: bool = False) -> None:
    """Remove a run's folder, if it has nothing but what is there before the first step.

    Args:
        folder: of the run.
        first: the folder around it was made for the run, too, and is removed unless there are other runs in it.
    """
    files = [file for file in folder.rglob("*") if not file.is_dir() or file.is_symlink()]
    if all(BEGINNING.fullmatch(file.name) for file in files):
        shutil.rmtree(folder, ignore_errors=True)
        if first:
            with suppress(OSError):  # other runs
                folder.parent.rmdir()


def put_back(kept: Path | None, place: Path) -> None:
    """Bring back what was kept of a file's former content; None removes the file, which had none."""
    with suppress(OSError):  # such as a file that was never written
        if kept is None:
            place.unlink()
        else:
            kept.replace(place)
