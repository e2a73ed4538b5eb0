"""Confidence intervals: how much a metric value depends on the choice of clips.

For a mean over clips, the percentile bootstrap: clips are drawn with replacement, as many as there are, a pair of
sounds together. The means of many such draws vary about as much as the means of new clips would.

Source: Bradley Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979,
https://doi.org/10.1214/aos/1176344552; percentile intervals in Bradley Efron, Robert J. Tibshirani, "An Introduction to
the Bootstrap", 1993, section 13.3.

For a value of a set, draws of half of the clips, each once. The mean of such a half has the variance s^2 / n of the
mean of all n clips. With replacement, a clip that is drawn twice would be its own neighbour, and Fréchet distances of
few clips would vary twice as much as they should. Source: Jun Shao, C. F. J. Wu, "A General Theory for Jackknife
Variance Estimation", 1989, https://doi.org/10.1214/aos/1176347263, the jackknife that deletes d = n / 2 clips.

Distances of sets are biased upwards, the more so the fewer the clips. So the ``bias`` of the draws, their mean
minus the value, is subtracted from their percentiles.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from consistency_tta.evaluation.protocol import BootstrapSettings


@dataclass(frozen=True)
class Interval:
    """The confidence interval of a value.

    Attributes:
        low, high: percentiles of the draws, less their bias.
        bias: mean of the draws minus the value.
        resamples: number of draws.
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


def halves(clips: int, resamples: int, seed: int) -> Iterator[Tensor]:
    """Half of the clips by their positions (clips // 2,), int64, each once, so many times; for each metric the same."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(resamples):
        yield torch.randperm(clips, generator=generator)[: clips // 2]


def mean_interval(values: Tensor, settings: BootstrapSettings, seed: int) -> Interval:
    """The interval of the mean of values (N,)."""
    values = values.double()
    means = [values[index].mean() for index in draws(len(values), settings.resamples, seed)]
    return _interval(torch.stack(means), float(values.mean()), settings.confidence)


def set_intervals(
    whole: dict[str, float],
    values_of: Callable[[Tensor], dict[str, float]],
    clips: int,
    settings: BootstrapSettings,
    seed: int,
) -> dict[str, Interval]:
    """The interval of each value of a set of clips, if all draws have that value.

    Args:
        whole: values of all clips, by name.
        values_of: positions of clips (N,) -> values by the same names.
        clips: number of clips.
        settings: of the protocol.
        seed: of the draws.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same warnings were given for all clips
        found = [values_of(index) for index in halves(clips, settings.set_resamples, seed)]
    intervals = {}
    for name, value in whole.items():
        if not all(name in one for one in found):
            continue
        drawn = torch.tensor([one[name] for one in found]).double()
        intervals[name] = _interval(drawn, value, settings.confidence)
        if drawn.min() >= 0:  # subtracting the bias must not make a distance negative
            intervals[name] = replace(intervals[name], low=max(0.0, intervals[name].low))
    return intervals


def _interval(found: Tensor, value: float, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = torch.quantile(found, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    bias = float(found.mean()) - value
    return Interval(low - bias, high - bias, bias, len(found))
