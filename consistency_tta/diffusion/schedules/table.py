"""A schedule that is known at whole times only: a rising table of numbers, interpolated linearly between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from consistency_tta.diffusion.schedules.base import NoiseSchedule


class TableSchedule(NoiseSchedule):
    """Linear interpolation of a table over t = 0 .. T; what its numbers mean is the subclass's.

    The table moves with the module, is not part of its state_dict, and stays in float32 when the module is cast to
    bfloat16 or float16. Results are float32, or float64 where t or the table is.

    Args:
        table: (T + 1,) in float32, rising strictly.
    """

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.num_train_timesteps = len(table) - 1
        self.register_buffer("table", table, persistent=False)

    def timestep(self, t: Tensor) -> Tensor:
        """A t - 1: diffusers counts the noise levels above 0 from 0."""
        return t - 1

    def _interpolated(self, t: Tensor) -> Tensor:
        """The table's value at t, of t's shape; t is clamped to [0, T]."""
        table = self._table_for(t)
        t = t.to(table.dtype).clamp(0, self.num_train_timesteps)
        index = t.long().clamp(max=self.num_train_timesteps - 1)
        return torch.lerp(table[index], table[index + 1], t - index)

    def _slope(self, t: Tensor) -> Tensor:
        """The derivative of the interpolation at t; at a whole t towards larger t, at T towards smaller."""
        table = self._table_for(t)
        index = t.long().clamp(0, self.num_train_timesteps - 1)
        return table[index + 1] - table[index]

    def _inverted(self, values: Tensor) -> Tensor:
        """The t in [0, T] at which the interpolation has these values, of their shape; clamped to [0, T]."""
        table = self._table_for(values)
        values = values.to(table.dtype).contiguous()
        index = (torch.searchsorted(table, values) - 1).clamp(0, self.num_train_timesteps - 1)
        low, high = table[index], table[index + 1]
        return (index + (values - low) / (high - low)).clamp(0, self.num_train_timesteps)

    def _table_for(self, values: Tensor) -> Tensor:
        # Time grids live on the CPU whatever the schedule's device. Two casts, because MPS has no float64.
        return self.table.to(values.device).to(torch.promote_types(self.table.dtype, values.dtype))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        table = self.table
        super()._apply(fn, recurse)
        if torch.finfo(self.table.dtype).bits < 32:
            # In bfloat16 whole neighbourhoods of timesteps would share one noise level.
            self.table = table.to(self.table.device)
        return self
