"""Intervals of a contestant's values over its sounds and its training seeds, and of differences of two contestants.

A draw takes one half of the sounds, the same for all models, and as many training seeds as there are, with replacement;
its value is the mean over these seeds. An interval has the central share of the draws, less their bias: the mean of the
halves minus the value of all sounds. With few training seeds (three, say) it is too narrow by the factor sqrt(1 - 1/n).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, and the values of each training seed."""

    value: float
    low: float
    high: float
    seeds: dict[str, float]


@dataclass(frozen=True)
class Result:
    """One metric of one contestant, by training seed.

    Attributes:
        values: of all sounds.
        halves: of each half of them (draws,).
    """

    values: Mapping[str, float]
    halves: Mapping[str, Sequence[float]]


def draws(result: Result, number: int = 2000, seed: int = 0) -> Tensor:
    """Values of random draws (number,), less their bias; equal draws for results of the same seeds and halves."""
    names = sorted(result.values)
    halves = torch.tensor([list(result.halves[name]) for name in names], dtype=torch.float64)
    whole = torch.tensor([result.values[name] for name in names], dtype=torch.float64)
    centred = halves - halves.mean(1, keepdim=True) + whole[:, None]
    generator = torch.Generator().manual_seed(seed)
    # The halves first: they are then the same whatever the number of training seeds.
    half = torch.randint(halves.shape[1], (number, 1), generator=generator)
    seeds = torch.randint(len(names), (number, len(names)), generator=generator)
    return centred[seeds, half].mean(1)


def estimate(result: Result, confidence: float = 0.95) -> Estimate:
    """The mean over training seeds and its interval."""
    return _estimate(dict(result.values), draws(result), confidence)


def difference(one: Result, other: Result, confidence: float = 0.95) -> Estimate:
    """One minus other, paired where both have the same noise; over the training seeds that both have, if any.

    Where a side has one model only, such as a teacher, it is compared with all seeds of the other.
    """
    common = sorted(one.values.keys() & other.values.keys())
    if common and len(one.values) > 1 and len(other.values) > 1:
        one, other = (_only(result, common) for result in (one, other))
    values = {name: value - sum(other.values.values()) / len(other.values) for name, value in one.values.items()}
    return _estimate(values, draws(one) - draws(other), confidence)


def _only(result: Result, names: Sequence[str]) -> Result:
    return Result({name: result.values[name] for name in names}, {name: result.halves[name] for name in names})


def _estimate(values: dict[str, float], drawn: Tensor, confidence: float) -> Estimate:
    tail = (1 - confidence) / 2
    low, high = torch.quantile(drawn, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Estimate(sum(values.values()) / len(values), low, high, values)
