"""How far a figure may be off by the choice of clips: confidence intervals for what so many clips give on average.

Of a mean over clips by the percentile bootstrap: clips are drawn with replacement, as many as there are, a pair of
sounds together; the means of many such draws spread about as those of new clips would.

Source: Bradley Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979,
https://doi.org/10.1214/aos/1176344552; percentile intervals in Bradley Efron, Robert J. Tibshirani, "An Introduction to
the Bootstrap", 1993, section 13.3.

Of a figure of a set by draws of half of the clips, each once: of a mean over n clips their variance is that of all,
s^2 / n. A clip that is drawn twice would be its own neighbour, and by such draws Fréchet distances of few clips spread
twice as far as they should. Source: Jun Shao, C. F. J. Wu, "A General Theory for Jackknife Variance Estimation", 1989,
https://doi.org/10.1214/aos/1176347263, the jackknife that deletes d = n / 2 clips.

Distances of sets are biased upwards, the more so the fewer clips there are. So the draws' ``bias``, their mean minus
the figure, is taken off their percentiles.
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


def halves(clips: int, resamples: int, seed: int) -> Iterator[Tensor]:
    """Half of the clips by their positions (clips // 2,), int64, each once, so many times; for each metric the same."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(resamples):
        yield torch.randperm(clips, generator=generator)[: clips // 2]


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
    """Of each figure of a set of clips, if all draws have it.

    Args:
        whole: figures of all clips, by name.
        figures: positions of clips (N,) -> figures by the same names.
        clips: how many there are.
        settings: of the protocol.
        seed: of the draws.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to say was said of all clips
        found = [figures(index) for index in halves(clips, settings.set_resamples, seed)]
    intervals = {}
    for name, value in whole.items():
        if not all(name in one for one in found):
            continue
        figures_of_draws = torch.tensor([one[name] for one in found]).double()
        intervals[name] = _interval(figures_of_draws, value, settings.confidence)
        if figures_of_draws.min() >= 0:  # what is never below 0 is not by taking off a bias
            intervals[name] = replace(intervals[name], low=max(0.0, intervals[name].low))
    return intervals


def _interval(found: Tensor, figure: float, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = torch.quantile(found, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    bias = float(found.mean()) - figure
    return Interval(low - bias, high - bias, bias, len(found))
