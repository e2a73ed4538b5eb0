"""A checkpoint for a run that a cluster stops."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

from consistency_tta.training.callbacks.run_dir import run_folder


class SaveOnSigterm(Callback):
    """Saves ``sigterm.ckpt`` when SIGTERM stops a run, after the step that was under way.

    It lies in the folder of the run's ``ModelCheckpoint``, or in ``checkpoints`` of the run's folder;
    ``--ckpt_path last`` finds it.
    """

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the checkpoint."""
        if isinstance(exception, SIGTERMException) and not getattr(trainer, "fast_dev_run", False):
            folder = getattr(trainer.checkpoint_callback, "dirpath", None) or run_folder(trainer) / "checkpoints"
            file = Path(folder) / "sigterm.ckpt"
            trainer.save_checkpoint(file)
            rank_zero_info(f"stopped by SIGTERM at step {trainer.global_step}; --ckpt_path {file} goes on from there")
