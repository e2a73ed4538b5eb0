"""The loss of a training as a curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from consistency_tta.reporting.figure import inline_svg, new_figure, page_colours, svg


def moving_average(values: Sequence[float], window: int = 9) -> np.ndarray:
    """Means (N,) of each value and its neighbours, fewer at the ends.

    Args:
        values: N of them.
        window: how many values a mean has, an odd number.
    """
    array, half = np.asarray(values, float), window // 2
    return np.array([array[max(0, i - half) : i + half + 1].mean() for i in range(len(array))])


def loss_curve(steps: Sequence[float], losses: Sequence[float]) -> Markup:
    """Losses as a faint line and their moving average as a strong one, from 0 on; a few outliers may leave the picture.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    smooth, colour = moving_average(losses), page_colours()["accent"]
    with new_figure(5.4, 2.7) as figure:
        axes = figure.subplots()
        axes.plot(steps, losses, color=colour, alpha=0.35, linewidth=0.8, marker="." if len(steps) == 1 else None)
        axes.plot(steps, smooth, color=colour, linewidth=2)
        axes.set(xlabel="steps", ylabel="loss", xlim=(0, max(steps)))
        axes.set_ylim(0, 1.1 * max(float(np.quantile(losses, 0.98)), float(smooth.max())))
        return inline_svg(svg(figure))
