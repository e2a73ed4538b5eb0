"""The straight path between data and noise: rectified flow, flow matching with optimal-transport paths.

    alpha_t = 1 - sigma_t,    sigma_t = shift u / (1 + (shift - 1) u),    u = t / T

With shift = 1, z_t moves from z_0 to epsilon in a straight line at constant speed. A larger shift spends more of the
time at high noise; it changes which noise levels a grid of equal steps visits and not the path.

Sources: Liu, Gong, Liu, "Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow", 2022,
https://arxiv.org/abs/2209.03003, eq. 1; Lipman, Chen, Ben-Hamu, Nickel, Le, "Flow Matching for Generative Modeling",
2022, https://arxiv.org/abs/2210.02747, section 4.1 (their time is 1 - u); Esser et al., "Scaling Rectified Flow
Transformers for High-Resolution Image Synthesis", 2024, https://arxiv.org/abs/2403.03206, eq. 23 (shift).
"""

from __future__ import annotations

from torch import Tensor

from consistency_tta.diffusion.schedules.base import NoiseSchedule
from consistency_tta.runtime.errors import ConfigurationError


class RectifiedFlowSchedule(NoiseSchedule):
    """alpha = 1 - sigma, as in ``FlowMatchEulerDiscreteScheduler``.

    Args:
        num_train_timesteps: T >= 1.
        shift: > 0; 1 for sigma = t / T.

    Raises:
        ConfigurationError: if an argument is out of its range.
    """

    variance_preserving = False
    zero_terminal_snr = True

    def __init__(self, num_train_timesteps: int = 1000, shift: float = 1.0) -> None:
        super().__init__()
        if num_train_timesteps < 1:
            raise ConfigurationError(f"num_train_timesteps must be at least 1, but is {num_train_timesteps!r}")
        if not 0 < shift < float("inf"):
            raise ConfigurationError(f"shift must be a number above 0, but is {shift!r}: 1 stands for no shift")
        self.num_train_timesteps = num_train_timesteps
        self.shift = shift

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale (1 - u) / (1 + (shift - 1) u) in [0, 1], of t's shape; 0 at T."""
        u = self._normalised(t)
        return (1 - u) / (1 + (self.shift - 1) * u)

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale shift u / (1 + (shift - 1) u) in [0, 1], of t's shape; 1 at T."""
        u = self._normalised(t)
        return self.shift * u / (1 + (self.shift - 1) * u)

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Minus the derivative of sigma, of t's shape."""
        return -self.sigma_derivative(t)

    def sigma_derivative(self, t: Tensor) -> Tensor:
        """Shift / (1 + (shift - 1) u)^2 / T, of t's shape."""
        u = self._normalised(t)
        return self.shift / (1 + (self.shift - 1) * u).square() / self.num_train_timesteps

    def time(self, ratio: Tensor) -> Tensor:
        """The t in [0, T] whose sigma_t / alpha_t is ``ratio``, of its shape; infinity gives T."""
        return self.num_train_timesteps / (1 + self.shift / ratio)

    def timestep(self, t: Tensor) -> Tensor:
        """T sigma_t, of t's shape; t itself where shift = 1."""
        return self.num_train_timesteps * self.sigma(t)
