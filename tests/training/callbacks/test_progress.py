"""One bar for a whole run."""

from __future__ import annotations

import io
import math
import re
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.trainer.states import RunningStage

from consistency_tta.training.callbacks.progress import StepProgressBar, TimedBar, run_name
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
    seen = [int(step) for step in re.findall(re.escape(tmp_path.name) + r": .*?(\d)/5", shown)]
    assert seen == sorted(seen)
    assert set(seen) >= {1, 2, 3, 4, 5}
    assert re.search(r"5/5 .*train/loss=\d", shown)


def test_a_run_limited_by_epochs_has_one_bar_over_all_of_them(
    teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = StepProgressBar(refresh_rate=1)
    run = trainer(tmp_path, callbacks=[bar], max_epochs=2, enable_progress_bar=True)
    run.fit(distillation(teacher_folder), datamodule=data(batch_size=4, num_clips=12))
    assert (bar.train_progress_bar.n, bar.train_progress_bar.total) == (6, 6)
    assert "Epoch" not in capsys.readouterr().out


def test_a_timer_that_ends_the_run_earlier_gives_the_time_left() -> None:
    timer = Timer(timedelta(seconds=90))
    timer._start_time[RunningStage.TRAINING] = time.monotonic()
    bar = TimedBar(total=10**6, file=io.StringIO(), disable=False)
    bar.start_t -= 10  # ten seconds for a thousand steps: nearly three hours in all
    bar.n = 1000
    assert bar.format_dict["left"].startswith("2:46:")
    bar.timer = timer
    assert bar.format_dict["left"] in ("01:29", "01:30")
    bar.close()


@pytest.mark.parametrize("initial", [0, 500])
def test_the_time_left_is_at_the_pace_since_the_bar_began(initial: int) -> None:
    """Where a run goes on, the steps before do not count."""
    bar = TimedBar(total=initial + 111, initial=initial, file=io.StringIO(), disable=False)
    bar.start_t -= 10
    bar.n = initial + 11  # a hundred steps are left, at 1.1 steps a second
    assert bar.format_dict["left"] in ("01:30", "01:31", "01:32", "01:33", "01:34")
    bar.close()


def left(bar: TimedBar) -> str:
    return bar.format_dict["left"]


def test_the_time_left_is_that_of_the_last_steps_pace_or_not_known_yet() -> None:
    bar = TimedBar(total=10, file=io.StringIO(), disable=False)
    assert left(bar) == "?"  # no step is taken
    bar.start_t -= 10
    bar.n = 5
    assert left(bar) in ("00:09", "00:10", "00:11")
    bar.total = None  # endless
    assert left(bar) == "?"
    bar.timer = Timer(timedelta(seconds=90))
    assert left(bar) == "01:30"  # it has not begun
    bar.timer._start_time[RunningStage.TRAINING] = time.monotonic() - 30
    assert left(bar) in ("00:59", "01:00")
    bar.timer._start_time[RunningStage.TRAINING] = time.monotonic() - 91
    assert left(bar) == "00:00"
    bar.total, bar.timer = 10, Timer(None)  # without an end
    assert left(bar) in ("00:09", "00:10", "00:11")
    bar.close()
    assert left(TimedBar(total=10, disable=True)) == "?"


@pytest.mark.parametrize(("steps", "total"), [(1, 1), (7, 7), (math.inf, math.inf), (-1, math.inf)])
def test_a_run_is_endless_if_nothing_limits_it(steps: float, total: float, capsys: pytest.CaptureFixture[str]) -> None:
    callback = StepProgressBar(refresh_rate=1)
    callback._trainer = SimpleNamespace(estimated_stepping_batches=steps, default_root_dir="runs/tiny")
    assert callback.total_train_batches == total
    callback.on_train_start(callback.trainer, torch.nn.Linear(1, 1))
    assert callback.train_progress_bar.total == (None if total == math.inf else total)
    callback.train_progress_bar.close()
    assert "tiny" in capsys.readouterr().out


@pytest.mark.parametrize("timed", [True, False])
def test_the_bar_stays_in_its_line_of_standard_output_and_knows_the_runs_timer(
    timed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    timer = Timer(timedelta(minutes=10))
    callback = StepProgressBar(refresh_rate=1, process_position=2)
    callbacks = [Callback(), *([timer] if timed else [])]
    callback._trainer = SimpleNamespace(default_root_dir="runs/tiny", callbacks=callbacks)
    bar = callback.init_train_tqdm()
    assert bar.timer is (timer if timed else None)
    assert bar.pos == -4  # two lines, of training and of validation, for each bar
    assert bar.dynamic_ncols
    assert bar.smoothing == 0  # the pace is that of the whole run
    timer._start_time[RunningStage.TRAINING] = time.monotonic()
    bar.total, bar.start_t = 1000, bar.start_t - 20
    bar.update(10)  # two thousand seconds are left, or the timer's ten minutes
    bar.close()
    shown = capsys.readouterr()
    assert re.search(r"tiny: +1%.*10/1000 \[00:2\d<" + ("09:5" if timed else "3") + r"\d", shown.out)
    assert not shown.err
    callback.disable()
    hidden = callback.init_train_tqdm()
    assert hidden.disable


def test_the_bar_has_the_name_of_the_runs_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = SimpleNamespace(default_root_dir="runs/tiny/consistency", lightning_module=torch.nn.Linear(1, 1))
    assert run_name(run) == "consistency"
    monkeypatch.chdir(tmp_path)
    run.default_root_dir = str(tmp_path)
    assert run_name(run) == "Linear"
