"""A run that SIGTERM stops leaves a checkpoint of the step it had reached."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from consistency_tta.training.checkpoint_search import newest_checkpoint
from tests.training.runs import MAKERS, data, trainer


class Stop(Callback):
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_leaves_a_checkpoint_to_go_on_from(teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SIGTERMException):
        trainer(tmp_path, max_steps=6, callbacks=[Stop()]).fit(MAKERS["refinement"](teacher_folder), data())
    resumed = trainer(tmp_path, max_steps=4)
    resumed.fit(MAKERS["refinement"](teacher_folder), data(), ckpt_path=newest_checkpoint(tmp_path))
    assert resumed.global_step == 4
