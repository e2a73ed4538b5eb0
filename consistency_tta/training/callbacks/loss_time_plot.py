"""A picture of the losses against the noise level, at each validation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image

from consistency_tta.reporting.figure import new_figure, page_colours, png, require_matplotlib
from consistency_tta.runtime.errors import MissingExtraError
from consistency_tta.training.callbacks.media import log_pictures
from consistency_tta.training.callbacks.run_dir import run_folder
from consistency_tta.training.latents import LatentTraining
from consistency_tta.training.time_binned_losses import LossBin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The step of each validation, and its ranges of t by loss.
History = Sequence[tuple[int, dict[str, list[LossBin]]]]


def draw(history: History) -> Figure:
    """One panel for each loss, from t = 0, clean, at the left to pure noise at the right.

    The last validation has a line through the means of the ranges of t, a bar from the first to the third quartile, a
    dash at the median, and the number of its examples. Earlier validations have their means alone, dark for the first.
    The top time, from which one query generates, is a diamond. Each panel's y axis begins at 0.

    Args:
        history: of at least one validation.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = list(history[-1][1])
    with new_figure(7, 3.1 * len(names)) as figure:
        panels: list[Axes] = list(figure.subplots(len(names), squeeze=False)[:, 0])
        for axes, name in zip(panels, names, strict=True):
            _draw_means(axes, history, name)
            _draw_quartiles(axes, history[-1][1][name])
            axes.set_title(f"{name}, step {history[-1][0]:,}")
            axes.set(xlabel="t in steps of the noise schedule (0: clean)", ylabel="loss: mean, median, quartiles")
            axes.update_datalim([(0, 0)])  # else the margin for numbers is a share of how much the losses differ
            axes.margins(y=0.12)
            axes.set_ylim(bottom=0)
            axes.set_xlim(left=0)
        if len(history) > 1:
            _draw_scale(figure, panels, history)
    return figure


def _draw_means(axes: Axes, history: History, name: str) -> None:
    """Lines through the ranges' means, and a mark at the top time, of all validations."""
    colours = require_matplotlib().colormaps["magma"](np.linspace(0, 0.8, len(history)))
    for index, (_, losses) in enumerate(history):
        width = 2.2 if index == len(history) - 1 else 0.8
        finite = [one for one in losses.get(name, []) if np.isfinite(one.mean)]
        for marker, line, is_range in ((".", "-", True), ("D", "none", False)):
            points = [(_middle(one), one.mean) for one in finite if (one.low < one.high) == is_range]
            x, y = np.reshape(points, (-1, 2)).T
            axes.plot(x, y, color=colours[index], marker=marker, markersize=5, linestyle=line, linewidth=width)


def _draw_quartiles(axes: Axes, bins: Sequence[LossBin]) -> None:
    """Bars, medians and numbers of examples of the last validation."""
    colour = page_colours()["muted"]
    end = max(one.high for one in bins)
    for one in bins:
        low, median, high = one.quartiles
        if np.isfinite(median):
            x, width = _middle(one), (0.6 * (one.high - one.low) or 0.02 * end)
            axes.bar(x, high - low, width, low, color=colour, alpha=0.25, linewidth=0)
            axes.plot([x - width / 2, x + width / 2], [median, median], color=colour, linewidth=1.2)
        text, align = (f"n = {one.count}", "center") if one.low < one.high else (f" T: {one.count}", "left")
        axes.annotate(text, (_middle(one), 1), xycoords=("data", "axes fraction"), fontsize=7, color=colour, ha=align,
                      va="top")  # fmt: skip


def _draw_scale(figure: Figure, panels: list[Axes], history: History) -> None:
    """Which step a line's colour means."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    colours = require_matplotlib().colormaps["magma"](np.linspace(0, 0.8, 256))
    scale = Normalize(0, len(history) - 1)
    bar = figure.colorbar(ScalarMappable(scale, LinearSegmentedColormap.from_list("steps", colours)), ax=panels)
    ends = sorted({0, len(history) // 2, len(history) - 1})
    bar.set_ticks(ends, labels=[f"{history[index][0]:,}" for index in ends])
    bar.set_label("optimizer step of the validation")


def _middle(one: LossBin) -> float:
    return (one.low + one.high) / 2


class DrawLossByTime(Callback):
    """Draws the losses of a training of latents per range of noise levels, logged as ``val/loss/latent_t/0250-0500``.

    At each validation a picture of all so far goes to TensorBoard, Weights & Biases or MLflow as ``loss_by_time``, and
    as ``loss_by_time/step0000500.png`` into the run's folder. A resumed run's begins anew. Without matplotlib (extra
    ``report``) a warning says so, and nothing is drawn.
    """

    def __init__(self) -> None:
        self.history: list[tuple[int, dict[str, list[LossBin]]]] = []
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
        losses = pl_module.binned.bins if isinstance(pl_module, LatentTraining) else {}
        losses = {name: bins for name, bins in losses.items() if bins}
        if trainer.sanity_checking or not losses or not trainer.is_global_zero or not self.can_draw:
            return
        self.history.append((trainer.global_step, losses))
        picture = png(draw(self.history))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"step{trainer.global_step:07d}.png").write_bytes(picture)
        for logger in trainer.loggers:
            log_pictures(logger, "loss_by_time", {"loss": Image.open(io.BytesIO(picture))}, trainer.global_step)
