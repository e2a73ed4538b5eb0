"""The loss against t, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from consistency_tta.training import DrawLossByTime
from consistency_tta.training.callbacks.loss_time_plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, by_name, draw
from tests.training.runs import data, distillation, trainer


def test_what_is_logged_is_sorted_by_loss_and_range() -> None:
    logged = {"val/loss/b_t/1000": 3.0, "val/loss/b_t/0000-0500": 1.0, "val/loss": 9.0, "train/loss/b_t/1000": 7.0}
    assert by_name(logged) == {"loss/b": {"0000-0500": 1.0, "1000": 3.0}}


def test_the_top_time_is_a_dot_at_its_height() -> None:
    means = {"0000-0500": 2.0, "0500-1000": 2.0, "1000": 1.0}
    pixels = np.asarray(draw([(5, {"loss": means})]).convert("L")).astype(int)
    assert pixels.shape == (HEIGHT, WIDTH)
    middle = (TOP + HEIGHT - BOTTOM) // 2  # half of the highest value, which is a round number already
    assert pixels[middle, WIDTH - RIGHT] < 128
    quarter = LEFT + (WIDTH - LEFT - RIGHT) // 4
    assert pixels[TOP, quarter] < 128
    assert pixels[middle, quarter] == 255


def test_one_panel_a_loss_and_values_that_are_not_finite_left_out() -> None:
    once = {"a": {"0-5": 1.0, "10": float("nan")}, "b": {"0-5": 3.0, "5-10": 0.0}}
    assert draw([(1, once), (2, {"a": {}, "b": once["b"]}), (3, once)]).size == (WIDTH, 2 * HEIGHT)


def test_each_validation_leaves_a_picture_in_folder_and_tensorboard(teacher_folder: Path, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    settings = {"max_steps": 4, "limit_val_batches": 1, "val_check_interval": 2, "num_sanity_val_steps": 1}
    torch.manual_seed(0)
    run = trainer(tmp_path, logger=logger, callbacks=[DrawLossByTime()], **settings)
    run.fit(distillation(teacher_folder), data(num_clips=16))
    folder = tmp_path / "run" / "version_0" / "loss_by_time"
    assert sorted(path.name for path in folder.iterdir()) == ["step0000002.png", "step0000004.png"]
    assert Image.open(folder / "step0000004.png").size == (WIDTH, HEIGHT)
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    events.Reload()
    assert [event.step for event in events.Images("loss_by_time")] == [2, 4]
