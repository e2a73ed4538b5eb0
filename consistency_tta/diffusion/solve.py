"""Solvers: one step along the probability-flow ODE of a denoiser, from time t to time s < t.

In the coordinates x = z / alpha and r = sigma / alpha the ODE is free of the schedule,

    dx/dr = (x - z_0(x, r)) / r        (Karras et al. 2022, eq. 1 and 3, with s(t) = 1, sigma(t) = t),

and with z_0 held constant from t to s it is solved exactly (:func:`transfer`). That is DDIM. Second-order solvers spend
a second query on how z_0 changes in between. At s = 0 they have no such query (a denoiser is not defined at t = 0) and
step as DDIM, which returns z_0(z_t, t). To keep a batch of mixed times in one query, those examples repeat the query at
t, so that no division by r_s = 0 arises, neither in values nor in gradients. Nothing here waits for the device.

alpha, sigma and r come in float32 or better, and so is all arithmetic by type promotion; the denoiser is given, and the
step returns, z_t's own dtype.

Sources: Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2021, https://arxiv.org/abs/2010.02502; Karras,
Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based Generative Models", 2022,
https://arxiv.org/abs/2206.00364; Lu, Zhou, Bao, Chen, Li, Zhu, "DPM-Solver++: Fast Solver for Guided Sampling of
Diffusion Probabilistic Models", 2022, https://arxiv.org/abs/2211.01095.
"""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import Conditioning, Denoiser, Schedule, Solver
from consistency_tta.diffusion.noise import expand


def transfer(schedule: Schedule, z_t: Tensor, z_0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Move z_t to time s along the line that ends in z_0.

    Args:
        schedule: gives alpha and sigma.
        z_t: (B, C, T, F).
        z_0: clean latent (B, C, T, F).
        t: (B,), > 0.
        s: (B,), >= 0; at s = 0 the result is z_0 exactly.

    Returns:
        z_s = alpha_s (q z_t / alpha_t + (1 - q) z_0), q = r_s / r_t, (B, C, T, F) in at least float32.
    """
    alpha_t, alpha_s = expand(schedule.alpha(t), z_t), expand(schedule.alpha(s), z_t)
    kept = expand(schedule.ratio(s) / schedule.ratio(t), z_t)
    return alpha_s * (kept * z_t / alpha_t + (1 - kept) * z_0)


class DDIM(Solver):
    """First order: z_0 is held constant over the step (Song et al. 2021, eq. 12 with sigma = 0)."""

    queries_per_step = 1

    def forward(self, denoiser: Denoiser, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """z_s (B, C, T, F), see :class:`~consistency_tta.contracts.Solver`."""
        z_0 = denoiser(z_t, t, conditioning)
        return transfer(denoiser.schedule, z_t, z_0, t, s).to(z_t.dtype)


class Heun(Solver):
    """Second order: the mean of the slopes at t and at DDIM's z_s (Karras et al. 2022, algorithm 1)."""

    queries_per_step = 2

    def forward(self, denoiser: Denoiser, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """z_s (B, C, T, F), see :class:`~consistency_tta.contracts.Solver`."""
        schedule = denoiser.schedule
        z_0 = denoiser(z_t, t, conditioning)
        first_order = transfer(schedule, z_t, z_0, t, s)
        is_last = expand(s <= 0, z_t)

        t_query = torch.where(s > 0, s, t)
        z_query = torch.where(is_last, z_t, first_order.to(z_t.dtype))
        x_t, slope_t = _slope(schedule, z_t, z_0, t)
        _, slope_s = _slope(schedule, z_query, denoiser(z_query, t_query, conditioning), t_query)
        step = expand(schedule.ratio(s) - schedule.ratio(t), z_t)
        second_order = expand(schedule.alpha(s), z_t) * (x_t + step * (slope_t + slope_s) / 2)
        return torch.where(is_last, first_order, second_order).to(z_t.dtype)


class DPMSolver2S(Solver):
    """Second order: z_0 is taken halfway in log-SNR (Lu et al. 2022, algorithm 1, DPM-Solver++(2S) with r = 1/2)."""

    queries_per_step = 2

    def forward(self, denoiser: Denoiser, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """z_s (B, C, T, F), see :class:`~consistency_tta.contracts.Solver`."""
        schedule = denoiser.schedule
        z_0 = denoiser(z_t, t, conditioning)
        # Half of log-SNR = -2 log r is the geometric mean of r.
        middle = schedule.time((schedule.ratio(t) * schedule.ratio(s)).sqrt())
        middle = torch.where(s > 0, middle.to(t.dtype), t)
        z_middle = transfer(schedule, z_t, z_0, t, middle).to(z_t.dtype)
        z_0_middle = denoiser(z_middle, middle, conditioning)
        return transfer(schedule, z_t, z_0_middle, t, s).to(z_t.dtype)


def _slope(schedule: Schedule, z: Tensor, z_0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The coordinate x and its slope dx/dr (B, C, T, F) at z, where the denoiser says z_0."""
    x = z / expand(schedule.alpha(t), z)
    return x, (x - z_0) / expand(schedule.ratio(t), z)
