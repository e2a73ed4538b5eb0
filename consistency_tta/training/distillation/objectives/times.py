"""At which times objectives without a grid noise latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from consistency_tta.contracts import Schedule, Step
from consistency_tta.runtime.errors import ConfigurationError

#: The largest sigma / alpha at which steps are measured, where a schedule has it infinite at T; Stable Audio Open's.
HIGHEST_RATIO = 500.0


@dataclass(frozen=True)
class LogNormalTimes:
    """Times whose sigma / alpha is log-normal.

        log(sigma_t / alpha_t) ~ N(mean, std^2), t clipped to [lowest_time, T]

    ``lowest_time`` is the schedule's, or T / 1000 if that is less. sigma / alpha is the noise level of EDM, and
    sigma_data tan(t) of TrigFlow.

    Sources: Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based Generative Models", 2022,
    https://arxiv.org/abs/2206.00364, table 1; Lu and Song, "Simplifying, Stabilizing and Scaling Continuous-Time
    Consistency Models", 2024, https://arxiv.org/abs/2410.11081, section 4.3.

    Attributes:
        mean: of log(sigma / alpha). -0.8 is sCM's for distillation; rCM, of large latents, has 0.7 and 1.5.
        std: its standard deviation, above 0.
        terminal_fraction: share of the training examples placed at T, where a one-query generation starts.
    """

    mean: float = -0.8
    std: float = 1.6
    terminal_fraction: float = 0.0

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ConfigurationError(f"expected a std above 0, got {self.std}")
        if not 0 <= self.terminal_fraction <= 1:
            raise ConfigurationError(f"expected a terminal_fraction in [0, 1], got {self.terminal_fraction}")

    def __call__(self, step: Step) -> Tensor:
        """Times (B,) on the device; outside of training none is placed at T."""
        rng, schedule = step.rng, step.schedule
        normal = torch.special.ndtri(rng.to_device(rng.uniform(len(step))))
        t = schedule.time((self.mean + self.std * normal).exp())
        t = t.clamp(lowest_time(schedule), schedule.num_train_timesteps)
        if self.terminal_fraction and step.training:
            terminal = rng.to_device(rng.uniform(len(step)) < self.terminal_fraction)
            t = torch.where(terminal, float(schedule.num_train_timesteps), t)
        return t


@dataclass(frozen=True)
class UniformTimes:
    """Times that are uniform in a range, but at least the schedule's lowest.

    Attributes:
        low: lowest t, as a share of the top time T.
        high: highest t, in the same way.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise ConfigurationError(f"expected a time_range within [0, 1], got [{self.low}, {self.high}]")

    def __call__(self, step: Step) -> Tensor:
        """Times (B,) on the device."""
        low, high = (share * step.schedule.num_train_timesteps for share in (self.low, self.high))
        t = step.rng.to_device(low + (high - low) * step.rng.uniform(len(step)))
        return t.clamp_min(step.schedule.lowest_time)


def lowest_time(schedule: Schedule) -> float:
    """The lowest t above 0 at which a network is queried."""
    return min(schedule.lowest_time, schedule.num_train_timesteps / 1000)
