"""Pairs of times t >= s, as MeanFlow draws them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from consistency_tta.contracts import Randomness, Schedule
from consistency_tta.diffusion.flow_map import noise_share, time_of_share
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.objectives.times import lowest_time


@dataclass(frozen=True)
class TimePairs:
    """Two draws of u = sigma / (alpha + sigma), the larger for t, the smaller for s.

    u is logit-normal: u / u_T = sigmoid(mean + std n), n standard normal, where u_T belongs to the top time. Source:
    Geng et al., "Mean Flows for One-step Generative Modeling", 2025, https://arxiv.org/abs/2505.13447, table 1: mean
    -0.4, std 1 and 75 % of s = t were best on ImageNet.

    Attributes:
        mean, std: of the normal distribution; std > 0.
        instantaneous_fraction: share of the examples with s = t, which learn the denoiser.
        terminal_fraction: share of the examples with t = T and s = 0, the pair of a one-query generation, which the
            distribution alone never draws. The paper has none.
    """

    mean: float = -0.4
    std: float = 1.0
    instantaneous_fraction: float = 0.75
    terminal_fraction: float = 0.0

    def __post_init__(self) -> None:
        fractions = (self.instantaneous_fraction, self.terminal_fraction)
        if min(fractions) < 0 or sum(fractions) > 1:
            raise ConfigurationError(
                "expected instantaneous_fraction and terminal_fraction in [0, 1], together at most 1, got "
                f"{fractions[0]} and {fractions[1]}"
            )
        if self.std <= 0:
            raise ConfigurationError(f"expected a std above 0 of the times, got {self.std}")

    def draw(self, schedule: Schedule, rng: Randomness, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Times t and s (B,) and the int64 positions of the examples with s < t, all on the device.

        t is in [lowest, T], where lowest is the schedule's ``lowest_time``, or T / 1000 if that is less. An s below it
        is 0, so that no network is queried for a sliver of noise.
        """
        kind, one, other = rng.uniform(batch_size), self._share(rng, batch_size), self._share(rng, batch_size)
        same, terminal = kind >= 1 - self.instantaneous_fraction, kind < self.terminal_fraction
        apart = rng.to_device((~same).nonzero()[:, 0])
        high, low = rng.to_device(torch.maximum(one, other)), rng.to_device(torch.minimum(one, other))
        same, terminal = rng.to_device(same), rng.to_device(terminal)
        lowest = lowest_time(schedule)
        top = torch.full_like(high, float(schedule.num_train_timesteps))
        share = noise_share(schedule, top)
        t = time_of_share(schedule, share * high).clamp(min=lowest)
        s = time_of_share(schedule, share * low)
        s = torch.where(s < lowest, 0.0, s)
        s = torch.where(same, t, torch.where(terminal, 0.0, s))
        return torch.where(terminal, top, t), s, apart

    def _share(self, rng: Randomness, batch_size: int) -> Tensor:
        """Logit-normal numbers in [0, 1), on the CPU."""
        normal = torch.special.ndtri(rng.uniform(batch_size))  # -inf for 0, of which the share is 0
        return torch.sigmoid(self.mean + self.std * normal)
