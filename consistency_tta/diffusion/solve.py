"""Solvers: one step along the probability-flow ODE of a denoiser, from time t to time s < t.

In the coordinates x = z / c and u = sigma / c, with c any combination of alpha and sigma that is 1 at t = 0, the ODE is
free of the schedule,

    dx/du = (x - z_0(x, u)) / u,

and with z_0 held constant from t to s it is solved exactly (:func:`transfer`). That is DDIM, whatever c. Second-order
solvers spend a second query on how z_0 changes in between, and c decides how Heun's method averages:

    c = alpha            u = sigma / alpha            dx/du = epsilon          Karras et al. 2022, eq. 1 and 3
    c = alpha + sigma    u = sigma / (alpha + sigma)  dx/du = epsilon - z_0    finite where alpha = 0

Schedules that end in alpha = 0 take the second, in which a rectified flow is solved in its own time; all others take
the first. At s = 0 second-order solvers have no second query, since a denoiser is not defined at t = 0, and step as
DDIM, which returns z_0(z_t, t). To keep a batch of mixed times in one query, those examples repeat the query at t, so
that no division by u_s = 0 arises, neither in values nor in gradients. Nothing here waits for the device.

alpha and sigma come in float32 or better, and so is all arithmetic by type promotion; the denoiser is given, and the
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
        z_t: (B, C, *).
        z_0: clean latent (B, C, *).
        t: (B,), > 0.
        s: (B,), >= 0; at s = 0 the result is z_0 exactly.

    Returns:
        z_s = c_s (q z_t / c_t + (1 - q) z_0), q = u_s / u_t, (B, C, *) in at least float32.
    """
    scale_t, scale_s = expand(_scale(schedule, t), z_t), expand(_scale(schedule, s), z_t)
    kept = expand(_level(schedule, s) / _level(schedule, t), z_t)
    return scale_s * (kept * z_t / scale_t + (1 - kept) * z_0)


class DDIM(Solver):
    """First order: z_0 is held constant over the step (Song et al. 2021, eq. 12 with sigma = 0)."""

    queries_per_step = 1

    def forward(self, denoiser: Denoiser, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """z_s (B, C, *), see :class:`~consistency_tta.contracts.Solver`."""
        z_0 = denoiser(z_t, t, conditioning)
        return transfer(denoiser.schedule, z_t, z_0, t, s).to(z_t.dtype)


class Heun(Solver):
    """Second order: the mean of the slopes at t and at DDIM's z_s (Karras et al. 2022, algorithm 1)."""

    queries_per_step = 2

    def forward(self, denoiser: Denoiser, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """z_s (B, C, *), see :class:`~consistency_tta.contracts.Solver`."""
        schedule = denoiser.schedule
        z_0 = denoiser(z_t, t, conditioning)
        first_order = transfer(schedule, z_t, z_0, t, s)
        is_last = expand(s <= 0, z_t)

        t_query = torch.where(s > 0, s, t)
        z_query = torch.where(is_last, z_t, first_order.to(z_t.dtype))
        x_t, slope_t = _slope(schedule, z_t, z_0, t)
        _, slope_s = _slope(schedule, z_query, denoiser(z_query, t_query, conditioning), t_query)
        step = expand(_level(schedule, s) - _level(schedule, t), z_t)
        second_order = expand(_scale(schedule, s), z_t) * (x_t + step * (slope_t + slope_s) / 2)
        return torch.where(is_last, first_order, second_order).to(z_t.dtype)


class DPMSolver2S(Solver):
    """Second order: z_0 is taken halfway in log-SNR (Lu et al. 2022, algorithm 1, DPM-Solver++(2S) with r = 1/2).

    From alpha_t = 0, where log-SNR has no half, z_0 is taken halfway in alpha / sigma. Along the ODE
    d(z / sigma) = z_0 d(alpha / sigma), so that is the midpoint rule.
    """

    queries_per_step = 2

    def forward(self, denoiser: Denoiser, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """z_s (B, C, *), see :class:`~consistency_tta.contracts.Solver`."""
        schedule = denoiser.schedule
        z_0 = denoiser(z_t, t, conditioning)
        # Half of log-SNR = -2 log r is the geometric mean of r = sigma / alpha.
        ratio = (schedule.ratio(t) * schedule.ratio(s)).sqrt()
        if schedule.zero_terminal_snr:
            ratio = torch.where(schedule.alpha(t) > 0, ratio, 2 * schedule.ratio(s))
        middle = schedule.time(ratio)
        middle = torch.where(s > 0, middle.to(t.dtype), t)
        z_middle = transfer(schedule, z_t, z_0, t, middle).to(z_t.dtype)
        z_0_middle = denoiser(z_middle, middle, conditioning)
        return transfer(schedule, z_t, z_0_middle, t, s).to(z_t.dtype)


def _slope(schedule: Schedule, z: Tensor, z_0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The coordinate x and its slope dx/du (B, C, *) at z, where the denoiser estimates z_0."""
    x = z / expand(_scale(schedule, t), z)
    return x, (x - z_0) / expand(_level(schedule, t), z)


def _scale(schedule: Schedule, t: Tensor) -> Tensor:
    """C of the module's docstring (B,)."""
    return schedule.alpha(t) + schedule.sigma(t) if schedule.zero_terminal_snr else schedule.alpha(t)


def _level(schedule: Schedule, t: Tensor) -> Tensor:
    """U of the module's docstring (B,)."""
    return schedule.sigma(t) / _scale(schedule, t) if schedule.zero_terminal_snr else schedule.ratio(t)
