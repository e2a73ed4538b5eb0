"""A callback for runs in which something shall happen between two steps."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class SlowSteps(Callback):
    """Waits after each step, and writes its number and the process's to ``<folder>/rank<k>``.

    Args:
        folder: of these files.
        seconds: to wait.
    """

    def __init__(self, folder: str, seconds: float = 0.4) -> None:
        self.folder, self.seconds = Path(folder), seconds

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Write, wait."""
        file = self.folder / f"rank{trainer.global_rank}"
        file.with_suffix(".new").write_text(f"{trainer.global_step} {os.getpid()}")
        file.with_suffix(".new").replace(file)
        time.sleep(self.seconds)
