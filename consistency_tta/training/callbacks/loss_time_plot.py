"""A picture of the loss against the noise level, at each validation."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image

from consistency_tta.reporting.figure import new_figure, png, require_matplotlib
from consistency_tta.runtime.errors import MissingExtraError
from consistency_tta.training.callbacks.media import log_pictures
from consistency_tta.training.callbacks.run_dir import run_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A loss's means by the range of times they belong to, "0250-0500" or, for the top time alone, "1000".
Means = dict[str, float]


def group_by_loss(metrics: dict[str, float]) -> dict[str, Means]:
    """Sort what was logged as ``val/<name>_t/<range>`` by name and range."""
    found: dict[str, Means] = {}
    for key in sorted(metrics):
        if match := re.fullmatch(r"(?:val|test)/(.+)_t/([\d-]+)", key):
            found.setdefault(match[1], {})[match[2]] = float(metrics[key])
    return found


def middle(label: str) -> float:
    """The middle of a range of times; the top time itself."""
    return float(np.mean([int(bound) for bound in label.split("-")]))


def draw(history: list[tuple[int, dict[str, Means]]]) -> Figure:
    """One panel for each loss, from t = 0 at the left: validations from the first, dark, to the last, bright and thick.

    The top time, which one-query generation starts from, has a dot of its own. Each panel's y axis begins at 0.

    Args:
        history: (step, losses) of each validation, at least one.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = list(history[-1][1])
    colours = require_matplotlib().colormaps["magma"](np.linspace(0, 0.8, len(history)))
    with new_figure(5, 2.5 * len(names)) as figure:
        for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
            curves = [
                (colour, losses[name]) for colour, (_, losses) in zip(colours, history, strict=True) if name in losses
            ]
            for index, (colour, means) in enumerate(curves):
                width = 2.5 if index == len(curves) - 1 else 0.8
                finite = {label: value for label, value in means.items() if np.isfinite(value)}
                for marker, line, is_range in ((".", "-", True), ("o", "none", False)):
                    points = [(middle(label), value) for label, value in finite.items() if ("-" in label) == is_range]
                    x, y = np.reshape(points, (-1, 2)).T
                    axes.plot(x, y, color=colour, marker=marker, linestyle=line, linewidth=width)
            axes.set(title=f"{name}, step {history[-1][0]}", xlabel="t", ylabel="loss")
            axes.set_xlim(left=0)
            axes.set_ylim(bottom=0)
    return figure


class DrawLossByTime(Callback):
    """Draws the losses that a training logs per range of noise levels (``val/loss/latent_t/0250-0500``).

    At each validation a picture of all so far goes to TensorBoard, Weights & Biases or MLflow as ``loss_by_time``, and
    as ``loss_by_time/step0000500.png`` into the run's folder. A resumed run's begins anew. Without matplotlib (extra
    ``report``) a warning says so, and nothing is drawn.
    """

    def __init__(self) -> None:
        self.history: list[tuple[int, dict[str, Means]]] = []
        self.can_draw = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Warn before the training, and not after its first validation, if nothing can be drawn."""
        try:
            require_matplotlib()
        except MissingExtraError as error:
            self.can_draw = False
            rank_zero_warn(f"No pictures of the loss against t. {error}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, when all values of the validation are known."""
        folder = run_folder(trainer) / "loss_by_time"  # on every process: the first one's folder is sent to all
        losses = group_by_loss({name: float(value) for name, value in trainer.callback_metrics.items()})
        if trainer.sanity_checking or not losses or not trainer.is_global_zero or not self.can_draw:
            return
        self.history.append((trainer.global_step, losses))
        picture = png(draw(self.history))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"step{trainer.global_step:07d}.png").write_bytes(picture)
        for logger in trainer.loggers:
            log_pictures(logger, "loss_by_time", {"loss": Image.open(io.BytesIO(picture))}, trainer.global_step)
