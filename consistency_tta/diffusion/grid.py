"""Time grids: the N + 1 times T = t_0 > t_1 > ... > t_N = 0 at which an N-step solver stops."""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import Schedule, TimeGrid
from consistency_tta.runtime.errors import ConfigurationError


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
    """Equal steps from T to the schedule's lowest time (1 for discrete steps), and from there to 0.

    The "linspace" spacing of diffusers, with which TANGO and ConsistencyTTA run their Heun solver (N = 18; Bai et al.,
    "ConsistencyTTA: Accelerating Diffusion-Based Text-to-Audio Generation with Consistency Distillation", 2023,
    https://arxiv.org/abs/2309.10740, section 3).
    """

    def forward(self, schedule: Schedule, num_steps: int) -> Tensor:
        """Times (num_steps + 1,), see :class:`~consistency_tta.contracts.TimeGrid`."""
        _check(schedule, num_steps)
        times = torch.linspace(schedule.num_train_timesteps, schedule.lowest_time, num_steps, dtype=torch.float64)
        return torch.cat([times, times.new_zeros(1)])


class KarrasGrid(TimeGrid):
    """Steps that shrink towards low noise: equal in r^(1/rho), r = sigma / alpha, and at last to 0.

    r falls from that of T to that of the schedule's lowest time (1 for discrete steps).

    Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based Generative Models", 2022,
    https://arxiv.org/abs/2206.00364, eq. 5.

    Args:
        rho: how strongly the steps shrink, >= 1; 7 in the paper, 1 for equal steps of r.

    Raises:
        ConfigurationError: if ``rho`` is below 1; on a schedule with r(T) infinite.
    """

    def __init__(self, rho: float = 7.0) -> None:
        super().__init__()
        if not rho >= 1:
            raise ConfigurationError(f"rho must be at least 1 (7 in Karras et al. 2022), but is {rho!r}")
        self.rho = rho

    def forward(self, schedule: Schedule, num_steps: int) -> Tensor:
        """Times (num_steps + 1,), see :class:`~consistency_tta.contracts.TimeGrid`."""
        _check(schedule, num_steps)
        _check_finite(schedule, self)
        ends = torch.tensor([schedule.num_train_timesteps, schedule.lowest_time], dtype=torch.float64)
        top, bottom = schedule.ratio(ends) ** (1 / self.rho)
        ratios = torch.lerp(top, bottom, torch.linspace(0, 1, num_steps, dtype=torch.float64)) ** self.rho
        times = schedule.time(ratios)
        # Powers and roots leave the ends off by rounding; the contract, and the network, want T itself.
        times[-1] = schedule.lowest_time
        times[0] = schedule.num_train_timesteps
        return torch.cat([times, times.new_zeros(1)])


class ExponentialGrid(TimeGrid):
    """Equal steps of log(sigma / alpha) from T to the schedule's lowest time, and from there to 0.

    The grid of Stable Audio Open (diffusers: ``sigma_schedule`` exponential of ``CosineDPMSolverMultistepScheduler``).

    Raises:
        ConfigurationError: on a schedule with sigma / alpha infinite at T.
    """

    def forward(self, schedule: Schedule, num_steps: int) -> Tensor:
        """Times (num_steps + 1,), see :class:`~consistency_tta.contracts.TimeGrid`."""
        _check(schedule, num_steps)
        _check_finite(schedule, self)
        ends = torch.tensor([schedule.num_train_timesteps, schedule.lowest_time], dtype=torch.float64)
        top, bottom = schedule.ratio(ends).log()
        times = schedule.time(torch.lerp(top, bottom, torch.linspace(0, 1, num_steps, dtype=torch.float64)).exp())
        times[-1] = schedule.lowest_time
        times[0] = schedule.num_train_timesteps
        return torch.cat([times, times.new_zeros(1)])


def _check(schedule: Schedule, num_steps: int) -> None:
    if not isinstance(num_steps, int) or not 1 <= num_steps <= schedule.num_train_timesteps:
        raise ConfigurationError(
            f"num_steps must be a whole number from 1 to {schedule.num_train_timesteps}, the steps the teacher was "
            f"trained with, but is {num_steps!r}"
        )


def _check_finite(schedule: Schedule, grid: TimeGrid) -> None:
    if schedule.zero_terminal_snr:
        raise ConfigurationError(
            f"{type(grid).__name__} divides sigma / alpha into steps, which is infinite at T on this schedule "
            f"({type(schedule).__name__}): use UniformGrid or LinspaceGrid"
        )
