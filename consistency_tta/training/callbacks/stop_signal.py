"""A checkpoint for a run that a cluster stops."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

from consistency_tta.storage.kept_folder import make_room
from consistency_tta.training.callbacks.run_dir import run_folder
from consistency_tta.training.job_checkpoint import LIGHTNING, PREFIX, new_job_checkpoint, slurm_job


class SaveOnSigterm(Callback):
    """Saves ``sigterm.ckpt`` when SIGTERM stops a run, or SIGHUP, after the step that was under way.

    SIGHUP arrives when a terminal closes; where it is ignored, as under ``nohup``, the run goes on.

    It lies in the folder of the run's ``ModelCheckpoint``, or in ``checkpoints`` of the run's folder;
    ``--ckpt_path last`` finds it.

    Of several processes it suffices that one receives the signal: they agree after each batch whether to stop.
    Lightning's own handler broadcasts from within the signal, wherever the process is; the broadcast then pairs with
    another process's next collective call, and both wait for ever. So this callback replaces the handler.

    Under SLURM it also takes over SIGUSR1, at which Lightning would save amid a step: it saves a checkpoint in
    ``default_root_dir`` that bears the job's number, by which the job finds it when it starts again
    (:mod:`consistency_tta.training.job_checkpoint`), and puts the job back into the queue.

    Attributes:
        received: number of the signal that stops the run; 0 as long as there is none.
    """

    def __init__(self) -> None:
        self.received = 0
        self.requeue = False
        self.group: Any = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say so if the run goes on from a checkpoint that a SLURM job has left."""
        file = Path(trainer.ckpt_path or "")
        if file.name.startswith((PREFIX, LIGHTNING)):
            rank_zero_info(
                f"goes on at step {checkpoint['global_step']} of {file}, which a SLURM job saved at SIGUSR1; to begin "
                "anew, remove the file or choose another --trainer.default_root_dir"
            )

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
        """Save the checkpoint, and put the job back into the queue if SLURM wants it."""
        if isinstance(exception, SIGTERMException) and not getattr(trainer, "fast_dev_run", False):
            if self.requeue:
                run = getattr(pl_module, "settings_digest", "")
                file = new_job_checkpoint(Path(trainer.default_root_dir), run)
                trainer.save_checkpoint(file)
                if trainer.is_global_zero:
                    requeue_job(file)
                return
            folder = getattr(trainer.checkpoint_callback, "dirpath", None) or run_folder(trainer) / "checkpoints"
            file = Path(folder) / "sigterm.ckpt"
            if trainer.is_global_zero and not trainer.ckpt_path:  # begun anew, so what is there is another run's
                make_room(file)
            trainer.save_checkpoint(file)
            name = signal.Signals(self.received or signal.SIGTERM).name
            rank_zero_info(f"stopped by {name} at step {trainer.global_step}; --ckpt_path {file} goes on from there")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the processes, which end with the run."""
        self.group = None

    def _take_over(self, trainer: Trainer) -> None:
        self.received, self.requeue = 0, False
        if trainer.world_size > 1 and self.group is None:
            # Of the CPU, so that no step waits for its GPU.
            self.group = dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")

        environment = getattr(getattr(trainer, "_accelerator_connector", None), "cluster_environment", None)
        slurm = environment if isinstance(environment, SLURMEnvironment) and environment.auto_requeue else None

        def receive(number: int, _: Any) -> None:
            self.requeue |= slurm is not None and number == slurm.requeue_signal
            launcher = trainer.strategy.launcher
            if launcher is not None and not self.received:
                launcher.kill(signal.Signals(number))  # the processes that this one has started
            self.received = number
            if number == signal.SIGHUP:
                discard_output_to_closed_terminals()
            if trainer.world_size == 1:
                trainer._signal_connector.received_sigterm = True

        if threading.current_thread() is threading.main_thread():  # no other thread may
            signal.signal(signal.SIGTERM, receive)
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                signal.signal(signal.SIGHUP, receive)
            if slurm is not None and slurm.requeue_signal is not None:
                signal.signal(slurm.requeue_signal, receive)

    def _agree(self, trainer: Trainer) -> None:
        if self.group is None or trainer.world_size == 1:
            return
        received = torch.tensor([self.received, int(self.requeue)])
        dist.all_reduce(received, dist.ReduceOp.MAX, group=self.group)
        self.received, self.requeue = int(received[0]), bool(received[1])
        if self.received:
            trainer._signal_connector.received_sigterm = True


def exit_status(trainer: Trainer) -> int:
    """Of a command that a signal has stopped: 129 for SIGHUP, else 143."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
    stops = [callback.received for callback in callbacks if isinstance(callback, SaveOnSigterm)]
    return 128 + (signal.SIGHUP if signal.SIGHUP in stops else signal.SIGTERM)


def discard_output_to_closed_terminals() -> None:
    """Let standard output and error lead nowhere if they are a terminal that has closed, where writing raises."""
    for descriptor in (1, 2):
        try:
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"\r")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def requeue_job(file: Path) -> None:
    """Put the SLURM job of this process back into the queue, and say so, or what to do where SLURM refuses."""
    job = slurm_job()
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        fault = " ".join(f"{error} {getattr(error, 'stderr', None) or ''}".split())
        rank_zero_info(
            f"saved {file}, but job {job} was not requeued ({fault}): submit it again, with --ckpt_path last, to go on "
            "from there"  # by itself another job would not
        )
    else:
        rank_zero_info(f"saved {file}; job {job} is in the queue again and goes on from there {done.stdout.strip()}")
