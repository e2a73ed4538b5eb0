"""A picture of the loss against the noise level, at each validation."""

from __future__ import annotations

import re

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image, ImageDraw

from consistency_tta.reporting.page import nice, palette
from consistency_tta.training.callbacks.run_dir import run_folder, tensorboard

#: Size of a panel and of the room around its axes, in pixels.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 240, 64, 24, 28, 32
GREY, BLACK = (150, 150, 150), (0, 0, 0)
#: A loss's means by the range of times they belong to, "0250-0500" or, for the top time alone, "1000".
Means = dict[str, float]


def by_name(metrics: dict[str, float]) -> dict[str, Means]:
    """Sort what was logged as ``val/<name>_t/<range>`` by name and range."""
    found: dict[str, Means] = {}
    for key in sorted(metrics):
        if match := re.fullmatch(r"(?:val|test)/(.+)_t/([\d-]+)", key):
            found.setdefault(match[1], {})[match[2]] = float(metrics[key])
    return found


def place(label: str) -> float:
    """The middle of a range of times; the top time itself."""
    return float(np.mean([int(bound) for bound in label.split("-")]))


def draw(history: list[tuple[int, dict[str, Means]]]) -> Image.Image:
    """One panel for each loss, from t = 0 at the left: validations from the first, dark, to the last, bright and thick.

    The top time, which one-query generation starts from, has a dot of its own. Each panel's axis begins at 0.

    Args:
        history: (step, losses) of each validation, at least one.
    """
    names = list(history[-1][1])
    picture = Image.new("RGB", (WIDTH, HEIGHT * len(names)), "white")
    pen = ImageDraw.Draw(picture)
    colours = palette()[np.linspace(0, 200, len(history)).astype(int)].tolist()
    for row, name in enumerate(names):
        curves = [losses[name] for _, losses in history if name in losses]
        values = [value for means in curves for value in means.values() if np.isfinite(value)]
        highest, top_time = nice(max([*values, 1e-9])), max(place(label) for means in curves for label in means)
        left, right, top, bottom = LEFT, WIDTH - RIGHT, row * HEIGHT + TOP, (row + 1) * HEIGHT - BOTTOM
        pen.line([(left, top), (left, bottom), (right, bottom)], fill=GREY)
        pen.text((left, top - 20), f"{name}, step {history[-1][0]}", fill=BLACK)
        for share in (0, 0.5, 1):
            pen.text((left - 6, bottom - share * (bottom - top)), f"{share * highest:.3g}", fill=BLACK, anchor="rm")
            pen.text((left + share * (right - left), bottom + 6), f"{share * top_time:g}", fill=BLACK, anchor="ma")
        pen.text(((3 * left + right) / 4, bottom + 6), "t", fill=BLACK, anchor="ma")
        for index, means in enumerate(curves):
            points = {
                label: (left + place(label) / top_time * (right - left), bottom - value / highest * (bottom - top))
                for label, value in means.items()
                if np.isfinite(value)
            }
            colour, width = tuple(colours[index]), 3 if index == len(curves) - 1 else 1
            pen.line([point for label, point in points.items() if "-" in label], fill=colour, width=width)
            for label, (x, y) in points.items():
                radius = width + 1 if "-" not in label else width - 1
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return picture


class DrawLossByTime(Callback):
    """Draws the losses that a training logs per range of noise levels (``val/loss/latent_t/0250-0500``).

    At each validation a picture of all so far goes to TensorBoard, if there is one, as ``loss_by_time``, and as
    ``loss_by_time/step0000500.png`` into the run's folder. A resumed run's begins anew.
    """

    def __init__(self) -> None:
        self.history: list[tuple[int, dict[str, Means]]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, when all values of the validation are known."""
        folder = run_folder(trainer) / "loss_by_time"
        losses = by_name({name: float(value) for name, value in trainer.callback_metrics.items()})
        if trainer.sanity_checking or not losses or not trainer.is_global_zero:
            return
        self.history.append((trainer.global_step, losses))
        picture = draw(self.history)
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"step{trainer.global_step:07d}.png", optimize=True)
        if (board := tensorboard(trainer)) is not None:
            board.add_image("loss_by_time", np.asarray(picture), trainer.global_step, dataformats="HWC")
