"""Time grids: the N + 1 times T = t_0 > t_1 > ... > t_N = 0 at which an N-step solver stops."""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import Schedule, TimeGrid


def _check(schedule: Schedule, num_steps: int) -> None:
    if not isinstance(num_steps, int) or not 1 <= num_steps <= schedule.num_train_timesteps:
        raise ValueError(
            f"num_steps must be a whole number from 1 to {schedule.num_train_timesteps}, the steps the teacher was "
            f"trained with, but is {num_steps!r}"
        )


class UniformGrid(TimeGrid):
    """Equal steps from T to 0.

    Equals the "trailing" spacing of diffusers where N divides T (Lin, Liu, Li, Yang, "Common Diffusion Noise Schedules
    and Sample Steps are Flawed", 2023, https://arxiv.org/abs/2305.08891, table 2), without its rounding elsewhere.
    """

    def forward(self, schedule: Schedule, num_steps: int) -> Tensor:
        """Times (num_steps + 1,), see :class:`~consistency_tta.contracts.TimeGrid`."""
        _check(schedule, num_steps)
        return torch.linspace(schedule.num_train_timesteps, 0, num_steps + 1, dtype=torch.float64)


class LinspaceGrid(TimeGrid):
    """Equal steps from T to 1, the lowest noise level the teacher knows, and from there to 0.

    The "linspace" spacing of diffusers, with which TANGO and ConsistencyTTA run their Heun solver (N = 18; Bai et al.,
    "ConsistencyTTA: Accelerating Diffusion-Based Text-to-Audio Generation with Consistency Distillation", 2023,
    https://arxiv.org/abs/2309.10740, section 3).
    """

    def forward(self, schedule: Schedule, num_steps: int) -> Tensor:
        """Times (num_steps + 1,), see :class:`~consistency_tta.contracts.TimeGrid`."""
        _check(schedule, num_steps)
        times = torch.linspace(schedule.num_train_timesteps, 1, num_steps, dtype=torch.float64)
        return torch.cat([times, times.new_zeros(1)])


class KarrasGrid(TimeGrid):
    """Steps that shrink towards low noise: equal in r^(1/rho), r = sigma / alpha, from r(T) to r(1), and then to 0.

    Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based Generative Models", 2022,
    https://arxiv.org/abs/2206.00364, eq. 5.

    Args:
        rho: how strongly the steps shrink, >= 1; 7 in the paper, 1 for equal steps of r.

    Raises:
        ValueError: if ``rho`` is below 1.
    """

    def __init__(self, rho: float = 7.0) -> None:
        super().__init__()
        if not rho >= 1:
            raise ValueError(f"rho must be at least 1 (7 in Karras et al. 2022), but is {rho!r}")
        self.rho = rho

    def forward(self, schedule: Schedule, num_steps: int) -> Tensor:
        """Times (num_steps + 1,), see :class:`~consistency_tta.contracts.TimeGrid`."""
        _check(schedule, num_steps)
        ends = torch.tensor([schedule.num_train_timesteps, 1], dtype=torch.float64)
        top, bottom = schedule.ratio(ends) ** (1 / self.rho)
        ratios = torch.lerp(top, bottom, torch.linspace(0, 1, num_steps, dtype=torch.float64)) ** self.rho
        times = schedule.time(ratios)
        # Powers and roots leave the ends off by rounding; the contract, and the network, want T itself.
        times[-1] = 1
        times[0] = schedule.num_train_timesteps
        return torch.cat([times, times.new_zeros(1)])
