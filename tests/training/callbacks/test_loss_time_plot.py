"""The loss against t, drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from consistency_tta.training import DrawLossByTime
from consistency_tta.training.callbacks.loss_time_plot import draw
from consistency_tta.training.time_binned_losses import LossBin
from tests.training.runs import data, distillation, trainer


def bin_of(low: float, high: float, mean: float) -> LossBin:
    return LossBin(low, high, 7, mean, (mean - 0.5, mean, mean + 1))


def means(axes: Axes) -> list[Line2D]:
    """The lines of the means, without the medians' dashes."""
    return [line for line in axes.lines if line.get_marker() != "None"]


def test_the_top_time_is_a_mark_apart_from_the_line_of_the_ranges() -> None:
    bins = [bin_of(0, 500, 2.0), bin_of(500, 1000, 3.0), bin_of(1000, 1000, 1.0)]
    (axes,) = draw([(5, {"loss": bins})]).axes
    ranges, top = means(axes)
    np.testing.assert_array_equal(ranges.get_xydata(), [(250, 2), (750, 3)])
    np.testing.assert_array_equal(top.get_xydata(), [(1000, 1)])
    assert (ranges.get_linestyle(), top.get_linestyle()) == ("-", "None")
    assert axes.get_ylim()[0] == axes.get_xlim()[0] == 0
    assert axes.get_title(loc="left") == "loss, step 5"
    assert axes.get_xlabel()
    assert axes.get_ylabel()


def test_bars_reach_from_the_first_to_the_third_quartile_under_the_number_of_examples() -> None:
    (axes,) = draw([(5, {"loss": [bin_of(0, 500, 2.0), bin_of(1000, 1000, 1.0)]})]).axes
    bars = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches]
    assert bars == [(1.5, 3.0), (0.5, 2.0)]
    assert [text.get_text() for text in axes.texts] == ["n = 7", " T: 7"]


def test_one_panel_a_loss_and_values_that_are_not_finite_left_out() -> None:
    broken = LossBin(10, 10, 1, float("nan"), (float("nan"),) * 3)
    once = {"a": [bin_of(0, 5, 1.0), broken], "b": [bin_of(0, 5, 3.0), bin_of(5, 10, 0.0)]}
    first, second, _ = draw([(1, once), (2, {"b": once["b"]}), (3, once)]).axes  # the last is the scale of steps
    assert [len(line.get_xdata()) for line in means(first)] == [1, 0, 0, 0, 1, 0]
    assert len(means(second)) == 6


def test_each_validation_leaves_a_picture_in_folder_and_tensorboard(teacher_folder: Path, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    settings = {"max_steps": 4, "limit_val_batches": 1, "val_check_interval": 2, "num_sanity_val_steps": 1}
    torch.manual_seed(0)
    run = trainer(tmp_path, logger=logger, callbacks=[DrawLossByTime()], **settings)
    run.fit(distillation(teacher_folder), data(num_clips=16))
    folder = tmp_path / "run" / "version_0" / "loss_by_time"
    assert sorted(path.name for path in folder.iterdir()) == ["step0000002.png", "step0000004.png"]
    assert Image.open(folder / "step0000004.png").width == 700
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    events.Reload()
    assert [event.step for event in events.Images("loss_by_time")] == [2, 4]


def test_without_matplotlib_a_training_goes_on_without_pictures(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run = trainer(tmp_path, callbacks=[DrawLossByTime()], max_steps=1, limit_val_batches=1, val_check_interval=1)
    with pytest.warns(UserWarning, match="matplotlib"):
        run.fit(distillation(teacher_folder), data(num_clips=8))
    assert run.global_step == 1
    assert not list(tmp_path.rglob("loss_by_time"))
