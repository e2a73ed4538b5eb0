"""One bar for a whole run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consistency_tta.training.callbacks.progress import StepProgressBar
from tests.training.runs import data, distillation, trainer


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_bar_counts_the_steps_of_all_epochs(
    accumulate: int, teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"max_steps": 5, "enable_progress_bar": True, "accumulate_grad_batches": accumulate}
    bar = StepProgressBar(refresh_rate=1)
    run = trainer(tmp_path, callbacks=[bar], **settings)
    run.fit(distillation(teacher_folder), datamodule=data(batch_size=4, num_clips=8))  # two batches an epoch
    assert (bar.train_progress_bar.n, bar.train_progress_bar.total) == (5, 5)
    shown = capsys.readouterr().out
    seen = [int(step) for step in re.findall(r"Training: .*?(\d)/5", shown)]
    assert seen == sorted(seen)
    assert set(seen) >= {1, 2, 3, 4, 5}
    assert re.search(r"5/5 .*train/loss=\d", shown)


def test_a_run_of_epochs_has_lightnings_bar(teacher_folder: Path, tmp_path: Path) -> None:
    bar = StepProgressBar(refresh_rate=1)
    run = trainer(tmp_path, callbacks=[bar], max_epochs=2, enable_progress_bar=True)
    run.fit(distillation(teacher_folder), datamodule=data(batch_size=4, num_clips=12))
    assert (bar.train_progress_bar.n, bar.train_progress_bar.total) == (3, 3)
