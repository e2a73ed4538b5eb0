"""Cosine schedules: the angle between signal and noise rises evenly in time.

    alpha_t = cos(a_t) / cos(a_0),    alpha_t^2 + sigma_t^2 = 1,    a_t = a_0 + (a_T - a_0) t / T

- Nichol, Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, https://arxiv.org/abs/2102.09672, eq. 17:
  a_T = pi / 2, and a_0 > 0 so that the first noise levels are not too small (:meth:`CosineSchedule.nichol_dhariwal`).
  diffusers' ``squaredcos_cap_v2`` is a table of it with the betas capped at 0.999, so that alpha_T stays above 0; that
  table is a :class:`~consistency_tta.diffusion.schedules.VariancePreservingSchedule`.
- Stable Audio Open (Evans et al., 2024, https://arxiv.org/abs/2407.14358) has a_0 = 0 and samples from
  sigma / alpha = 500 downwards, that is a_T = atan(500) (:meth:`CosineSchedule.between_ratios`).
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from consistency_tta.diffusion.schedules.base import NoiseSchedule
from consistency_tta.runtime.errors import ConfigurationError

RIGHT_ANGLE = math.pi / 2


class CosineSchedule(NoiseSchedule):
    """The angle from a_0 to a_T in equal steps.

    Args:
        num_train_timesteps: T >= 1.
        start_angle: a_0 in [0, pi / 2), in radians.
        end_angle: a_T in (a_0, pi / 2]; alpha_T is 0 for pi / 2.
        lowest_time: the lowest t above 0 at which grids of discrete steps query the network.

    Raises:
        ConfigurationError: if an argument is out of its range.
    """

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        start_angle: float = 0.0,
        end_angle: float = RIGHT_ANGLE,
        lowest_time: float = 1.0,
    ) -> None:
        super().__init__()
        if num_train_timesteps < 1:
            raise ConfigurationError(f"num_train_timesteps must be at least 1, but is {num_train_timesteps!r}")
        if not 0 <= start_angle < end_angle <= RIGHT_ANGLE:
            raise ConfigurationError(
                "angles must satisfy 0 <= start_angle < end_angle <= pi / 2, but start_angle is "
                f"{start_angle!r} and end_angle {end_angle!r}"
            )
        if not 0 < lowest_time <= num_train_timesteps:
            raise ConfigurationError(
                f"lowest_time must be above 0 and at most {num_train_timesteps}, but is {lowest_time!r}"
            )
        self.num_train_timesteps = num_train_timesteps
        self.start_angle = start_angle
        self.end_angle = end_angle
        self.lowest_time = lowest_time
        self.zero_terminal_snr = end_angle == RIGHT_ANGLE

    @classmethod
    def nichol_dhariwal(cls, num_train_timesteps: int = 1000, offset: float = 0.008) -> Self:
        """The schedule of Nichol and Dhariwal without a cap; ``offset`` is their s."""
        return cls(num_train_timesteps, RIGHT_ANGLE * offset / (1 + offset))

    @classmethod
    def between_ratios(cls, num_train_timesteps: int, lowest: float, highest: float) -> Self:
        """From sigma / alpha = ``highest`` at T down to 0; grids of discrete steps make their last query at ``lowest``.

        These are ``sigma_max`` and ``sigma_min`` of diffusers' ``CosineDPMSolverMultistepScheduler``.
        """
        if not 0 < lowest < highest < float("inf"):
            raise ConfigurationError(f"expected 0 < lowest < highest, got {lowest!r} and {highest!r}")
        end_angle = math.atan(highest)
        return cls(num_train_timesteps, 0.0, end_angle, num_train_timesteps * math.atan(lowest) / end_angle)

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale alpha_t in [0, 1], of t's shape."""
        # As the sine of the angle that is left, so that alpha_T is exactly 0 for a right angle.
        left = RIGHT_ANGLE - self.end_angle + (self.end_angle - self.start_angle) * (1 - self._normalised(t))
        return left.sin() / math.cos(self.start_angle)

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale sigma_t in [0, 1], of t's shape."""
        angle = self._angle(t)
        if self.start_angle == 0:
            return angle.sin()
        # 1 - alpha^2 without the cancellation at small t.
        squared = (self._normalised(t) * (self.end_angle - self.start_angle)).sin() * (angle + self.start_angle).sin()
        return squared.sqrt() / math.cos(self.start_angle)

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """-sin(a_t) a' / cos(a_0), of t's shape."""
        return -self._angle(t).sin() * self._speed / math.cos(self.start_angle)

    def sigma_derivative(self, t: Tensor) -> Tensor:
        """-alpha alpha' / sigma, of t's shape; infinite at t = 0 where a_0 > 0, since sigma begins as a root of t."""
        if self.start_angle == 0:
            return self._angle(t).cos() * self._speed
        return -self.alpha(t) * self.alpha_derivative(t) / self.sigma(t)

    def time(self, ratio: Tensor) -> Tensor:
        """The t in [0, T] whose sigma_t / alpha_t is ``ratio``, of its shape; clamped to [0, T]."""
        alpha = (1 + ratio.square()).rsqrt()
        sigma_squared = 1 / (1 + ratio.square().reciprocal())
        start_sine, start_cosine = math.sin(self.start_angle), math.cos(self.start_angle)
        angle = torch.atan2((start_sine**2 + sigma_squared * start_cosine**2).sqrt(), alpha * start_cosine)
        return ((angle - self.start_angle) / self._speed).clamp(0, self.num_train_timesteps)

    def timestep(self, t: Tensor) -> Tensor:
        """The angle a_t as a share of a right angle, of t's shape; what Stable Audio's network reads."""
        return self._angle(t) / RIGHT_ANGLE

    @property
    def _speed(self) -> float:
        """The angle per unit of t."""
        return (self.end_angle - self.start_angle) / self.num_train_timesteps

    def _angle(self, t: Tensor) -> Tensor:
        return self.start_angle + (self.end_angle - self.start_angle) * self._normalised(t)
