"""Losses per range of noise levels, for validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat


@dataclass(frozen=True)
class LossBin:
    """A loss's values at the times of one range.

    Attributes:
        low, high: ends of the range of t; equal for the top time.
        count: examples.
        mean: of their values.
        quartiles: their 25 %, 50 % and 75 % quantiles; NaN if no value is finite.
    """

    low: float
    high: float
    count: int
    mean: float
    quartiles: tuple[float, float, float]


class TimeBinnedLosses(Metric):
    """Means of losses for equal ranges of the time t, and for the top time t = T by itself.

    The top time is apart because one-query generation takes place there alone. Summed over batches and processes;
    nothing here waits for the device before :meth:`compute`.

    Args:
        names: of the losses.
        num_train_timesteps: T.
        num_ranges: of [0, T), which is without T.

    Attributes:
        bins: of the last :meth:`compute`, the ranges that were met, by loss.
    """

    sums: Tensor
    counts: Tensor
    values: list[Tensor]
    columns: list[Tensor]

    def __init__(self, names: Sequence[str], num_train_timesteps: int, num_ranges: int = 4) -> None:
        super().__init__()
        self.names = list(names)
        self.num_train_timesteps = num_train_timesteps
        self.num_ranges = num_ranges
        self.add_state("sums", torch.zeros(len(self.names), num_ranges + 1), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(num_ranges + 1), dist_reduce_fx="sum")
        self.add_state("values", [], dist_reduce_fx="cat")
        self.add_state("columns", [], dist_reduce_fx="cat")
        self.bins: dict[str, list[LossBin]] = {}

    def update(self, values: dict[str, Tensor], t: Tensor) -> None:
        """Take in the values (B,) of all losses at times t (B,) in [0, T]."""
        index = (t * self.num_ranges / self.num_train_timesteps).ceil().long() - 1
        index = torch.where(t == self.num_train_timesteps, self.num_ranges, index.clamp(min=0))
        belongs = torch.nn.functional.one_hot(index, self.num_ranges + 1)
        # Not a product of matrices: a value that is not finite must stay in its range.
        stacked = torch.stack([values[name] for name in self.names]).to(self.sums)
        self.sums += torch.where(belongs > 0, stacked[:, :, None], 0).sum(1)
        self.counts += belongs.sum(0)
        self.values.append(stacked.T)
        self.columns.append(index)

    def compute(self) -> dict[str, Tensor]:
        """Means ``<name>_t/<range>`` of the ranges that were met, such as ``loss_t/0250-0500`` and ``loss_t/1000``."""
        met = self.counts.nonzero()[:, 0].tolist()
        self.bins = {name: [self._bin(row, column) for column in met] for row, name in enumerate(self.names)}
        return {
            f"{name}_t/{self.label(column)}": self.sums[row, column] / self.counts[column]
            for row, name in enumerate(self.names)
            for column in met
        }

    def _bin(self, row: int, column: int) -> LossBin:
        values = dim_zero_cat(self.values)[dim_zero_cat(self.columns) == column, row]
        finite = values[values.isfinite()]
        quantiles = finite.new_tensor([0.25, 0.5, 0.75])
        low, middle, high = torch.quantile(finite, quantiles).tolist() if len(finite) else [float("nan")] * 3
        start, end = (self.num_train_timesteps * min(end / self.num_ranges, 1) for end in (column, column + 1))
        mean = float(self.sums[row, column] / self.counts[column])
        return LossBin(start, end, len(values), mean, (low, middle, high))

    def label(self, column: int) -> str:
        """A range as text, with leading zeros, so that loggers sort it right."""
        end = self.num_train_timesteps
        bounds = [round(end * bound / self.num_ranges) for bound in (column, column + 1)]
        width = len(str(end))
        return str(end) if column == self.num_ranges else "-".join(f"{bound:0{width}d}" for bound in bounds)
