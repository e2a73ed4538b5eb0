"""Diffusion: schedules, denoisers, solvers, time grids and weightings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn

from consistency_tta.contracts.data import Conditioning


class Schedule(Protocol):
    """How much signal and noise z_t holds. All methods are elementwise and keep the shape of their argument.

    ``consistency_tta.diffusion.schedules`` has variance-preserving, rectified-flow and cosine schedules, and a base
    class for others.

    Attributes:
        num_train_timesteps: T, the largest t.
        lowest_time: the lowest t above 0 at which grids of discrete steps query the network; 1 for tables.
        variance_preserving: whether alpha^2 + sigma^2 = 1 at every t.
        zero_terminal_snr: whether alpha_T = 0, so that z_T is pure noise and sigma_T / alpha_T is infinite.
    """

    num_train_timesteps: int
    lowest_time: float
    variance_preserving: bool
    zero_terminal_snr: bool

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale alpha_t, in [0, 1]; 1 at t = 0."""

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale sigma_t, in [0, 1]; 0 at t = 0."""

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """D alpha / dt, per unit of t."""

    def sigma_derivative(self, t: Tensor) -> Tensor:
        """D sigma / dt, per unit of t."""

    def snr(self, t: Tensor) -> Tensor:
        """alpha_t^2 / sigma_t^2; infinite at t = 0."""

    def ratio(self, t: Tensor) -> Tensor:
        """sigma_t / alpha_t, increasing in t; 0 at t = 0, infinite where alpha_t = 0."""

    def time(self, ratio: Tensor) -> Tensor:
        """The inverse of :meth:`ratio`."""

    def timestep(self, t: Tensor) -> Tensor:
        """The number that the diffusers scheduler gives a network for the noise level of t; t - 1 for tables."""


class Denoiser(nn.Module, ABC):
    """An estimate of the clean latent. Guidance wraps a denoiser.

    With a second time s, as flow maps have it, the estimate is the one whose straight (DDIM) step from z_t to s ends on
    the trajectory's z_s: at s = t the denoiser's, at s = 0 the trajectory's own z_0. See
    :mod:`consistency_tta.diffusion.flow_map`.
    """

    schedule: Schedule

    @abstractmethod
    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """Estimate z_0 (B, C, *) from z_t (B, C, *).

        Args:
            z_t: (B, C, *).
            t: (B,) in (0, num_train_timesteps].
            conditioning: for B examples.
            s: (B,) in [0, t], for a network that reads a second time; None for any other.
        """


class Solver(nn.Module, ABC):
    """One step along the probability-flow ODE of a denoiser; stateless, so that times may differ per example."""

    #: Queries of the denoiser that one step costs.
    queries_per_step: int = 1

    @abstractmethod
    def forward(self, denoiser: Denoiser, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """Step from z_t to z_s, both (B, C, *), for t > s >= 0 (B,) and B conditions.

        The denoiser's ``schedule`` gives alpha and sigma.
        """


class TimeGrid(nn.Module, ABC):
    """The times a solver stops at."""

    @abstractmethod
    def forward(self, schedule: Schedule, num_steps: int) -> Tensor:
        """(num_steps + 1,) float64 on the CPU, falling strictly from num_train_timesteps to 0."""


class Weighting(nn.Module, ABC):
    """How much the squared error of z_0 counts at noise level t."""

    @abstractmethod
    def forward(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Weights (B,), >= 0 and finite, for times t (B,) > 0."""
