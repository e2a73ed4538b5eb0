"""A checkpoint for a run that a cluster stops."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

from consistency_tta.training.callbacks.run_dir import run_folder


class SaveOnSigterm(Callback):
    """Saves ``sigterm.ckpt`` when SIGTERM stops a run, after the step that was under way.

    It lies in the folder of the run's ``ModelCheckpoint``, or in ``checkpoints`` of the run's folder;
    ``--ckpt_path last`` finds it.

    Of several processes it suffices that one receives the signal: they agree after each batch whether to stop.
    Lightning's own handler broadcasts from within the signal, wherever the process is; the broadcast then pairs with
    another process's next collective call, and both wait for ever. So this callback replaces the handler.
    """

    def __init__(self) -> None:
        self.received = False
        self.group: Any = None

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signal."""
        self._take_over(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signal, which Lightning gives back to its former handler at the end."""
        self._take_over(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Agree whether to stop."""
        self._agree(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Agree whether to stop."""
        self._agree(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the checkpoint."""
        if isinstance(exception, SIGTERMException) and not getattr(trainer, "fast_dev_run", False):
            folder = getattr(trainer.checkpoint_callback, "dirpath", None) or run_folder(trainer) / "checkpoints"
            file = Path(folder) / "sigterm.ckpt"
            trainer.save_checkpoint(file)
            rank_zero_info(f"stopped by SIGTERM at step {trainer.global_step}; --ckpt_path {file} goes on from there")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the processes, which end with the run."""
        self.group = None

    def _take_over(self, trainer: Trainer) -> None:
        self.received = False
        if trainer.world_size > 1 and self.group is None:
            # Of the CPU, so that no step waits for its GPU.
            self.group = dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")

        def receive(number: int, _: Any) -> None:
            launcher = trainer.strategy.launcher
            if launcher is not None and not self.received:
                launcher.kill(signal.Signals(number))  # the processes that this one has started
            self.received = True
            if trainer.world_size == 1:
                trainer._signal_connector.received_sigterm = True

        if threading.current_thread() is threading.main_thread():  # no other thread may
            signal.signal(signal.SIGTERM, receive)

    def _agree(self, trainer: Trainer) -> None:
        if self.group is None or trainer.world_size == 1:
            return
        received = torch.tensor([int(self.received)])
        dist.all_reduce(received, dist.ReduceOp.MAX, group=self.group)
        if received.item():
            trainer._signal_connector.received_sigterm = True
