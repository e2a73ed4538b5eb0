"""The variance-preserving schedule of diffusion models that were trained with a table of betas.

    alpha_t^2 + sigma_t^2 = 1,    r_t = sigma_t / alpha_t

t = k + 1 is the noise level that a diffusers scheduler calls timestep k, so r is known at whole t. Between whole t it
is interpolated linearly, as the Heun and Euler schedulers of diffusers do for fractional timesteps (``np.interp`` over
their sigmas, whose "sigma" is our r; https://github.com/huggingface/diffusers, schedulers/scheduling_heun_discrete.py,
``set_timesteps``). alpha and sigma follow from r and satisfy the identity at every t.

Sources: Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, https://arxiv.org/abs/2006.11239, eq. 4
(alpha_t^2 there is alpha-bar); Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based
Generative Models", 2022, https://arxiv.org/abs/2206.00364, appendix C (r is the noise level of z_t / alpha_t).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from consistency_tta.diffusion.schedules.table import TableSchedule
from consistency_tta.runtime.errors import ConfigurationError


class VariancePreservingSchedule(TableSchedule):
    """A table of r_t = sigma_t / alpha_t, finite at T.

    Args:
        alphas_cumprod: alpha^2 at t = 1 .. T, each in (0, 1), strictly falling.

    Raises:
        ConfigurationError: if ``alphas_cumprod`` is not so.
    """

    def __init__(self, alphas_cumprod: Tensor | Sequence[float]) -> None:
        squared = as_alphas_cumprod(alphas_cumprod)
        ratio = ((1 - squared) / squared).sqrt()
        table = torch.cat([ratio.new_zeros(1), ratio]).float()
        if not (table.isfinite().all() and (table.diff() > 0).all()):
            raise ConfigurationError(
                "alphas_cumprod must lie in (0, 1) and fall strictly, so that the noise level rises at every step, "
                f"but it runs from {squared[0].item():g} to {squared[-1].item():g} with a step that does not: "
                "check the betas of the scheduler's configuration, each must be in (0, 1)"
            )
        super().__init__(table)

    def ratio(self, t: Tensor) -> Tensor:
        """sigma_t / alpha_t for t in [0, T], of t's shape; t is clamped to that range."""
        return self._interpolated(t)

    def time(self, ratio: Tensor) -> Tensor:
        """The t in [0, T] whose sigma_t / alpha_t is ``ratio``, of its shape; clamped to [0, T]."""
        return self._inverted(ratio)

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale alpha_t in (0, 1], of t's shape."""
        return (1 + self.ratio(t).square()).rsqrt()

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale sigma_t in [0, 1), of t's shape."""
        ratio = self.ratio(t)
        return ratio * (1 + ratio.square()).rsqrt()

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """-r r' alpha^3, of t's shape; at a whole t that towards larger t, since r has a kink there."""
        return -self.ratio(t) * self._slope(t) * self.alpha(t) ** 3

    def sigma_derivative(self, t: Tensor) -> Tensor:
        """R' alpha^3, of t's shape; at a whole t that towards larger t, since r has a kink there."""
        return self._slope(t) * self.alpha(t) ** 3


def as_alphas_cumprod(values: Tensor | Sequence[float]) -> Tensor:
    """A list of alpha^2 at t = 1 .. T as float64 (T,) on the CPU.

    Raises:
        ConfigurationError: if it is no list of at least one number.
    """
    squared = torch.as_tensor(values, dtype=torch.float64, device="cpu")
    if squared.ndim != 1 or len(squared) == 0:
        raise ConfigurationError(
            f"alphas_cumprod must be a list of T >= 1 numbers, but has shape {tuple(squared.shape)}"
        )
    return squared
