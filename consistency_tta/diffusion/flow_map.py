"""Flow maps: what a denoiser that reads a second time s estimates, and how it moves z_t to z_s.

A denoiser without s estimates z_0, and the straight step of DDIM towards it (:func:`~consistency_tta.diffusion.solve.
transfer`) is right to first order. With s it returns the D for which that step is exact:

    z_s = transfer(z_t, D(z_t, t, s), t, s)

In the coordinates in which every schedule's path is that of a rectified flow,

    x = z / (alpha + sigma)    u = sigma / (alpha + sigma)    x = (1 - u) z_0 + u epsilon    dx/du = epsilon - z_0,

D is the average velocity U over the way from t to s, by a factor that does not depend on s:

    U(z_t, t, s) = (x_t - x_s) / (u_t - u_s) = (x_t - D(z_t, t, s)) / u_t

- s = 0: z_0 = D(z_t, t, 0), so one query makes the sound, as with a consistency model.
- s = t: D(z_t, t, t) is the denoiser's estimate of z_0, and U the instantaneous velocity.

A student that starts as its teacher, whatever s, starts with DDIM's steps. Source: Kim et al., "Consistency Trajectory
Models: Learning Probability Flow ODE Trajectory of Diffusion", 2023, https://arxiv.org/abs/2310.02279, section 3.1
(D is g there); Geng et al., "Mean Flows for One-step Generative Modeling", 2025, https://arxiv.org/abs/2505.13447,
section 4 (U).
"""

from __future__ import annotations

from torch import Tensor

from consistency_tta.contracts import Conditioning, Denoiser, Schedule
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.solve import transfer


def jump(denoiser: Denoiser, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
    """Move z_t to time s in one query of a denoiser that reads s.

    Args:
        denoiser: the flow map.
        z_t: (B, C, *).
        t: (B,), > 0.
        s: (B,) in [0, t].
        conditioning: for B examples.

    Returns:
        z_s (B, C, *), of z_t's dtype.
    """
    estimate = denoiser(z_t, t, conditioning, s)
    return transfer(denoiser.schedule, z_t, estimate, t, s).to(z_t.dtype)


def estimate_between(schedule: Schedule, z_t: Tensor, z_s: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The D whose straight step leads from z_t to z_s; the inverse of ``transfer``.

    Args:
        schedule: gives alpha and sigma.
        z_t, z_s: (B, C, *).
        t: (B,), > s.
        s: (B,), >= 0; at s = 0 the result is z_s exactly.

    Returns:
        D = (x_s - q x_t) / (1 - q), q = u_s / u_t, (B, C, *) in at least float32.
    """
    scale_t, scale_s = (expand(schedule.alpha(time) + schedule.sigma(time), z_t) for time in (t, s))
    kept = expand(noise_share(schedule, s) / noise_share(schedule, t), z_t)
    return (z_s / scale_s - kept * z_t / scale_t) / (1 - kept)


def noise_share(schedule: Schedule, t: Tensor) -> Tensor:
    """U = sigma / (alpha + sigma) at times t, in [0, 1], of t's shape."""
    sigma = schedule.sigma(t)
    return sigma / (schedule.alpha(t) + sigma)


def noise_share_derivative(schedule: Schedule, t: Tensor) -> Tensor:
    """Du/dt at times t, of t's shape."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return (schedule.sigma_derivative(t) * alpha - schedule.alpha_derivative(t) * sigma) / (alpha + sigma).square()


def time_of_share(schedule: Schedule, share: Tensor) -> Tensor:
    """The time at which u is ``share``, in [0, 1), of its shape."""
    return schedule.time(share / (1 - share))
