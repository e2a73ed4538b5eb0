"""The loss against t, drawn."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.lines import Line2D
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from consistency_tta.training import DrawLossByTime
from consistency_tta.training.callbacks.loss_time_plot import draw
from consistency_tta.training.time_binned_losses import LossBin
from tests.training.runs import data, diffusion, distillation, trainer


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


def test_bars_and_dashes_are_within_their_ranges_and_seen_at_the_top_time() -> None:
    bins = [bin_of(0, 500, 2.0), bin_of(500, 1000, 3.0), bin_of(1000, 1000, 1.0)]
    (axes,) = draw([(5, {"loss": bins})]).axes
    dashes = [line for line in axes.lines if line.get_marker() == "None"]
    for one, bar, dash in zip(bins, axes.patches, dashes, strict=True):
        left, width = bar.get_x(), bar.get_width()
        assert left + width / 2 == pytest.approx((one.low + one.high) / 2)
        assert 10 < width < 100 if one.low == one.high else 250 < width < 500
        assert [tuple(point) for point in dash.get_xydata()] == [(left, one.mean), (left + width, one.mean)]
        # One colour for what is said of the last validation alone; lines are seen through the bars.
        assert same_color(bar.get_facecolor()[:3], dash.get_color())
        assert same_color(axes.texts[0].get_color(), dash.get_color())
        assert bar.get_alpha() < 1


@pytest.mark.parametrize("level", [1.0, 30.0])
def test_numbers_of_examples_are_at_the_top_above_all_that_is_drawn(level: float) -> None:
    """Also where losses differ little from each other."""
    bins = [bin_of(0, 500, level + 1), bin_of(500, 1000, level + 2), bin_of(1000, 1000, level)]
    figure = draw([(5, {"loss": bins})])
    (axes,) = figure.axes
    figure.canvas.draw()
    for one, bar, text in zip(bins, axes.patches, axes.texts, strict=True):
        box, panel = text.get_window_extent(), axes.get_window_extent()
        x = axes.transData.transform(((one.low + one.high) / 2, 0))[0]
        assert x == pytest.approx(box.x0 if one.low == one.high else (box.x0 + box.x1) / 2, abs=1)
        assert box.y1 == pytest.approx(panel.y1, abs=3)
        assert box.y0 > bar.get_window_extent().y1


def test_each_loss_has_a_panel_as_high_as_one_alone() -> None:
    one, two = (draw([(5, {name: [bin_of(0, 5, 1.0)] for name in names})]) for names in ("a", "ab"))
    assert two.get_size_inches().tolist() == [one.get_size_inches()[0], 2 * one.get_size_inches()[1]]


@pytest.mark.parametrize("number", [2, 5])
def test_the_last_validation_is_the_brightest_and_thickest_line_and_the_scale_says_which_is_which(number: int) -> None:
    history = [(1000 * (step + 1), {"loss": [bin_of(0, 5, 1.0), bin_of(5, 5, 1.0)]}) for step in range(number)]
    axes, scale = draw(history).axes
    lines = means(axes)[::2]
    luminance = [sum(line.get_color()[:3]) for line in lines]
    assert luminance == sorted(set(luminance))
    for top, line in zip(means(axes)[1::2], lines, strict=True):
        assert tuple(top.get_color()) == tuple(line.get_color())
    assert [line.get_linewidth() > lines[0].get_linewidth() for line in lines] == [False] * (number - 1) + [True]
    ticks = {
        label.get_text(): int(tick) for tick, label in zip(scale.get_yticks(), scale.get_yticklabels(), strict=True)
    }
    assert ticks == {"1,000": 0, f"{1000 * (number // 2 + 1):,}": number // 2, f"{1000 * number:,}": number - 1}
    assert scale.get_ylabel()
    assert scale.get_ylim() == (0, number - 1)
    for index in ticks.values():
        shown = scale._colorbar.mappable.to_rgba(index)
        np.testing.assert_allclose(shown, lines[index].get_color(), atol=0.02)


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


def test_the_first_process_draws_what_a_validation_has_measured(teacher_folder: Path, tmp_path: Path) -> None:
    module, callback = diffusion(teacher_folder), DrawLossByTime()
    one = bin_of(0, 5, 1.0)

    def validate(bins: dict[str, list[LossBin]], step: int, **more: Any) -> None:
        module.binned.bins = bins
        settings: dict[str, Any] = {"log_dir": str(tmp_path / "logs" / "version_0"), "loggers": []}
        settings |= {"sanity_checking": False, "is_global_zero": True, "global_step": step}
        callback.on_validation_end(SimpleNamespace(**(settings | more)), module)

    validate({"a": [one]}, 0, sanity_checking=True)
    validate({"a": [one]}, 1, is_global_zero=False)
    validate({"a": []}, 2)
    assert not list(tmp_path.iterdir())
    validate({"a": [one], "b": []}, 3)
    validate({"a": [one]}, 4)
    assert callback.history == [(3, {"a": [one]}), (4, {"a": [one]})]
    folder = tmp_path / "logs" / "version_0" / "loss_by_time"
    assert sorted(path.name for path in folder.iterdir()) == ["step0000003.png", "step0000004.png"]


def test_without_matplotlib_a_training_goes_on_without_pictures(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run = trainer(tmp_path, callbacks=[DrawLossByTime()], max_steps=1, limit_val_batches=1, val_check_interval=1)
    with pytest.warns(UserWarning, match="matplotlib"):
        run.fit(distillation(teacher_folder), data(num_clips=8))
    assert run.global_step == 1
    assert not list(tmp_path.rglob("loss_by_time"))
