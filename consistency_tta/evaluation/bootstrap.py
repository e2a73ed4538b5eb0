"""How far a figure may be off by the choice of clips: the percentile bootstrap.

Clips are drawn with replacement, as many as there are, a pair of sounds together; the figure of many such draws
spreads about as the figure of new clips would.

Source: Bradley Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979,
https://doi.org/10.1214/aos/1176344552; percentile intervals in Bradley Efron, Robert J. Tibshirani, "An Introduction to
the Bootstrap", 1993, section 13.3.

A draw has about 63 % of the clips, some of them several times. Distances of sets, which are biased upwards, the more so
the fewer clips there are, are larger in it: an interval may lie above the figure. So each comes with its ``bias``, the
mean of the draws minus the figure.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from consistency_tta.evaluation.protocol import BootstrapSettings


@dataclass(frozen=True)
class Interval:
    """Where a figure may lie.

    Attributes:
        low, high: percentiles of the draws.
        bias: mean of the draws minus the figure.
        resamples: how many draws.
    """

    low: float
    high: float
    bias: float
    resamples: int


def draws(clips: int, resamples: int, seed: int) -> Tensor:
    """Clips by their positions (resamples, clips), int64, the same for every metric of an evaluation."""
    return torch.randint(clips, (resamples, clips), generator=torch.Generator().manual_seed(seed))


def mean_interval(values: Tensor, settings: BootstrapSettings, seed: int) -> Interval:
    """Of the mean of values (N,)."""
    values = values.double()
    index = draws(len(values), settings.resamples, seed)
    return _interval(values[index].mean(1), float(values.mean()), settings.confidence)


def set_intervals(
    whole: dict[str, float],
    figures: Callable[[Tensor], dict[str, float]],
    clips: int,
    settings: BootstrapSettings,
    seed: int,
) -> dict[str, Interval]:
    """Of each figure of a set of clips.

    Args:
        whole: figures of all clips, by name.
        figures: positions of clips (N,) -> figures by the same names.
        clips: how many there are.
        settings: of the protocol.
        seed: of the draws.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to say was said of all clips
        found = [figures(index) for index in draws(clips, settings.set_resamples, seed)]
    return {
        name: _interval(torch.tensor([one[name] for one in found]).double(), value, settings.confidence)
        for name, value in whole.items()
    }


def _interval(found: Tensor, figure: float, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = torch.quantile(found, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(low, high, float(found.mean()) - figure, len(found))
