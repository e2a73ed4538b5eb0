"""Pairs of times t > s, at which a consistency model shall return the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from consistency_tta.contracts import Schedule, TimeGrid
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.weighting import tightening
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.objectives.discretization import DiscretizationSchedule
from consistency_tta.training.distillation.objectives.times import HIGHEST_RATIO, lowest_time


class ConsistencyPairs(ABC):
    """Finds the second time of a pair."""

    @abstractmethod
    def __call__(self, t: Tensor, schedule: Schedule, step: int | None) -> tuple[Tensor, Tensor]:
        """Times t and s (B,), T >= t > s >= 0.

        Args:
            t: drawn times (B,) in (0, T], which may be moved.
            schedule: of t.
            step: optimizer steps taken so far; None for the last pairs, which validation uses.
        """


@dataclass(frozen=True)
class TighteningPairs(ConsistencyPairs):
    """The pairs of ECT, whose distance shrinks as training goes on.

        r_s = r_t max(0, 1 - n(r_t) / base^stage),    n(r) = 1 + k sigmoid(-b r),    r = sigma / alpha
        stage = min(1 + floor(step / every), stages)

    A pair that ends below the lowest time at which the network is queried ends at s = 0. In early stages that is so for
    all low noise levels, where the objective is that of a diffusion model.

    Source: Geng, Pokle, Luo, Lin, Kolter, "Consistency Models Made Easy", 2024, https://arxiv.org/abs/2406.14548,
    section 3 and appendix (there q for our base; 2 for CIFAR-10, 4 for ImageNet 64 x 64; eight stages; k = 8, b = 1).

    Attributes:
        base: by which the distances are divided from stage to stage, above 1.
        every: optimizer steps of a stage, at least 1.
        stages: number of stages, at least 1.
        k, b: height and slope of n, both at least 0.
    """

    base: float = 2.0
    every: int = 1000
    stages: int = 8
    k: float = 8.0
    b: float = 1.0

    def __post_init__(self) -> None:
        if not self.base > 1 or min(self.every, self.stages) < 1 or min(self.k, self.b) < 0:
            raise ConfigurationError(
                "expected base > 1, every >= 1, stages >= 1, k >= 0 and b >= 0 of TighteningPairs, got "
                f"{self.base}, {self.every}, {self.stages}, {self.k} and {self.b}"
            )

    def stage(self, step: int | None) -> int:
        """The stage at an optimizer step, counted from 0; the last if None."""
        return self.stages if step is None else min(1 + step // self.every, self.stages)

    def __call__(self, t: Tensor, schedule: Schedule, step: int | None) -> tuple[Tensor, Tensor]:
        """See :class:`ConsistencyPairs`."""
        ratio = schedule.ratio(t).clamp(max=HIGHEST_RATIO)
        share = 1 - tightening(ratio, self.k, self.b) / self.base ** self.stage(step)
        s = schedule.time(ratio * share.clamp(min=0))
        return t, torch.where(s < lowest_time(schedule), 0.0, s)


class GridPairs(ConsistencyPairs):
    """Neighbours on a grid of N + 1 times, where N may change with the optimizer steps.

    A drawn time moves up to the next time of the grid.

    Source: Song and Dhariwal, "Improved Techniques for Training Consistency Models", 2023,
    https://arxiv.org/abs/2310.14189, sections 3.4 and 3.5 (a ``KarrasGrid``; N doubles from 10 to 1280).

    Args:
        num_discretization_steps: N; or how N changes with the optimizer steps. At most T.
        grid: where the times are taken from; equal steps if not given.
    """

    def __init__(
        self,
        num_discretization_steps: int | DiscretizationSchedule = DiscretizationSchedule(10, 640, 1000),  # noqa: B008  # frozen
        grid: TimeGrid | None = None,
    ) -> None:
        steps = num_discretization_steps
        self.num_steps = DiscretizationSchedule(steps, steps, 1) if isinstance(steps, int) else steps
        self.grid = grid or UniformGrid()
        self._times: dict[int, Tensor] = {}

    def __call__(self, t: Tensor, schedule: Schedule, step: int | None) -> tuple[Tensor, Tensor]:
        """See :class:`ConsistencyPairs`."""
        number = self.num_steps.end if step is None else self.num_steps(step)
        if number not in self._times:  # once: the grid is made on the CPU, which waits for the device
            self._times[number] = self.grid(schedule, number).flip(0)
        times = self._times[number].to(t)
        index = torch.searchsorted(times, t).clamp(1, number)
        return times[index], times[index - 1]
