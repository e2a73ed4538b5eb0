"""A variance-preserving table whose last alpha is 0, so that training sees the pure noise that sampling starts from.

Lin, Liu, Li, Yang, "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023,
https://arxiv.org/abs/2305.08891, section 3.1 and algorithm 1 (diffusers: ``rescale_betas_zero_snr``).

There sigma / alpha is infinite at T and cannot be interpolated. The table holds the noise's share
u = sigma / (alpha + sigma) instead, which runs from 0 to 1, with

    alpha = (1 - u) / n,    sigma = u / n,    n = sqrt(u^2 + (1 - u)^2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from consistency_tta.diffusion.schedules.table import TableSchedule
from consistency_tta.diffusion.schedules.variance_preserving import as_alphas_cumprod
from consistency_tta.runtime.errors import ConfigurationError


class ZeroTerminalSNRSchedule(TableSchedule):
    """A table of the noise's share u_t, 1 at T.

    Args:
        alphas_cumprod: alpha^2 at t = 1 .. T, strictly falling, below 1, and 0 at T.

    Raises:
        ConfigurationError: if ``alphas_cumprod`` is not so.
    """

    zero_terminal_snr = True

    def __init__(self, alphas_cumprod: Tensor | Sequence[float]) -> None:
        squared = as_alphas_cumprod(alphas_cumprod)
        alpha, sigma = squared.sqrt(), (1 - squared).sqrt()
        share = sigma / (alpha + sigma)
        table = torch.cat([share.new_zeros(1), share]).float()
        if squared[-1] != 0 or not (table.diff() > 0).all():
            raise ConfigurationError(
                "alphas_cumprod must fall strictly from below 1 to 0, but it runs from "
                f"{squared[0].item():g} to {squared[-1].item():g}: check the betas of the scheduler's configuration"
            )
        super().__init__(table)

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale alpha_t in [0, 1], of t's shape; 0 at T."""
        share = self._interpolated(t)
        return (1 - share) / _norm(share)

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale sigma_t in [0, 1], of t's shape; 1 at T."""
        share = self._interpolated(t)
        return share / _norm(share)

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """-u u' / n^3, of t's shape; at a whole t that towards larger t, since u has a kink there."""
        share = self._interpolated(t)
        return -share * self._slope(t) / _norm(share) ** 3

    def sigma_derivative(self, t: Tensor) -> Tensor:
        """(1 - u) u' / n^3, of t's shape; at a whole t that towards larger t, since u has a kink there."""
        share = self._interpolated(t)
        return (1 - share) * self._slope(t) / _norm(share) ** 3

    def time(self, ratio: Tensor) -> Tensor:
        """The t in [0, T] whose sigma_t / alpha_t is ``ratio``, of its shape; infinity gives T."""
        return self._inverted(1 / (1 + 1 / ratio))


def _norm(share: Tensor) -> Tensor:
    return (share.square() + (1 - share).square()).sqrt()
