"""How far a figure may be off by the choice of clips: the percentile bootstrap.

Clips are drawn with replacement, as many as there are, a pair of sounds together; the figure of many such draws
spreads about as the figure of new clips would.

Source: Bradley Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979,
https://doi.org/10.1214/aos/1176344552; percentile intervals in Bradley Efron, Robert J. Tibshirani, "An Introduction to
the Bootstrap", 1993, section 13.3.

A draw has about 63 % of the clips, some of them several times. Distances of sets, which are biased upwards, the more so
the fewer different clips there are, are larger in it, and percentiles of the draws could all lie above the figure. So
their ``bias``, the mean of the draws minus the figure (section 10.2 there), is taken off: an interval says where the
figures of *equally many* other clips would lie. Of a mean over clips it is next to nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from consistency_tta.evaluation.protocol import BootstrapSettings


@dataclass(frozen=True)
class Interval:
    """Where a figure may lie.

    Attributes:
        low, high: percentiles of the draws, less their bias.
        bias: mean of the draws minus the figure.
        resamples: how many draws.
    """

    low: float
    high: float
    bias: float
    resamples: int


def draws(clips: int, resamples: int, seed: int) -> Iterator[Tensor]:
    """Clips by their positions (clips,), int64, so many times; the same for every metric of an evaluation."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(resamples):
        yield torch.randint(clips, (clips,), generator=generator)


def mean_interval(values: Tensor, settings: BootstrapSettings, seed: int) -> Interval:
    """Of the mean of values (N,)."""
    values = values.double()
    means = [values[index].mean() for index in draws(len(values), settings.resamples, seed)]
    return _interval(torch.stack(means), float(values.mean()), settings.confidence)


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
    bias = float(found.mean()) - figure
    return Interval(low - bias, high - bias, bias, len(found))
