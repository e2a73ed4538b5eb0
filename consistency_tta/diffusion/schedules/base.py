"""What every noise schedule derives from its alpha and sigma."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from consistency_tta.diffusion.noise import add_noise


class NoiseSchedule(nn.Module, ABC):
    """A :class:`~consistency_tta.contracts.Schedule`; a subclass gives what is abstract here.

    Methods are elementwise and keep the shape of their argument. Results are at least float32, and float64 where the
    argument is. Nothing waits for the device.

    Attributes:
        num_train_timesteps: T, the largest t.
        lowest_time: the lowest t above 0 at which :class:`~consistency_tta.diffusion.grid.LinspaceGrid` and
            :class:`~consistency_tta.diffusion.grid.KarrasGrid` query the network.
        variance_preserving: whether alpha^2 + sigma^2 = 1 at every t.
        zero_terminal_snr: whether alpha_T = 0, so that z_T is pure noise and sigma_T / alpha_T is infinite.
    """

    num_train_timesteps: int
    lowest_time: float = 1.0
    variance_preserving: bool = True
    zero_terminal_snr: bool = False

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale alpha_t in [0, 1]; 1 at t = 0."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale sigma_t in [0, 1]; 0 at t = 0."""

    @abstractmethod
    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Its derivative d alpha / dt, per unit of t."""

    @abstractmethod
    def sigma_derivative(self, t: Tensor) -> Tensor:
        """Its derivative d sigma / dt, per unit of t."""

    @abstractmethod
    def time(self, ratio: Tensor) -> Tensor:
        """The t in [0, T] whose sigma_t / alpha_t is ``ratio``."""

    @abstractmethod
    def timestep(self, t: Tensor) -> Tensor:
        """The number that the diffusers scheduler gives a network for the noise level of t."""

    def ratio(self, t: Tensor) -> Tensor:
        """sigma_t / alpha_t; 0 at t = 0, infinite where alpha_t = 0."""
        return self.sigma(t) / self.alpha(t)

    def snr(self, t: Tensor) -> Tensor:
        """alpha_t^2 / sigma_t^2; infinite at t = 0."""
        return self.ratio(t).square().reciprocal()

    def add_noise(self, z_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """z_t of z_0 and epsilon, all (B, C, *), at t (B,); see :func:`consistency_tta.diffusion.noise.add_noise`."""
        return add_noise(self, z_0, epsilon, t)

    def prior(self, epsilon: Tensor) -> Tensor:
        """Where generation starts: z_T = sigma_T epsilon, of the shape and dtype of epsilon (B, C, *)."""
        t = torch.full(epsilon.shape[:1], float(self.num_train_timesteps), device=epsilon.device)
        return add_noise(self, torch.zeros_like(epsilon), epsilon, t)

    def _normalised(self, t: Tensor) -> Tensor:
        """T / T in [0, 1], in at least float32; t is clamped to [0, T]."""
        t = t.to(torch.promote_types(t.dtype, torch.float32))
        return t.clamp(0, self.num_train_timesteps) / self.num_train_timesteps
