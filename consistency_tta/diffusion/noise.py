"""What follows from alpha and sigma alone: z_t from z_0, epsilon and the ODE's velocity from z_0 and z_t.

    z_t   = alpha_t z_0 + sigma_t epsilon
    dz/dt = alpha'_t z_0 + sigma'_t epsilon      the probability-flow ODE, with z_0 and epsilon as estimated at z_t

Sources: Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, https://arxiv.org/abs/2006.11239, eq. 4;
Lipman, Chen, Ben-Hamu, Nickel, Le, "Flow Matching for Generative Modeling", 2022, https://arxiv.org/abs/2210.02747,
theorem 3 (there for one data point, with our alpha and sigma as the mean's and the standard deviation's scale).
"""

from __future__ import annotations

from torch import Tensor

from consistency_tta.contracts import Schedule


def expand(values: Tensor, like: Tensor) -> Tensor:
    """Per-example values (B,) as (B, 1, ..., 1), to broadcast against ``like`` (B, ...)."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def add_noise(schedule: Schedule, z_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
    """Noise z_0 to time t, in at least float32.

    Args:
        schedule: gives alpha and sigma.
        z_0: clean latent (B, C, *).
        epsilon: standard normal noise of the same shape.
        t: (B,) in [0, num_train_timesteps].

    Returns:
        z_t = alpha_t z_0 + sigma_t epsilon, of z_0's shape and dtype.
    """
    z_t = expand(schedule.alpha(t), z_0) * z_0 + expand(schedule.sigma(t), z_0) * epsilon
    return z_t.to(z_0.dtype)


def to_epsilon(schedule: Schedule, z_0: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
    """The noise (z_t - alpha_t z_0) / sigma_t that is in z_t if z_0 is the clean latent.

    Args:
        schedule: gives alpha and sigma.
        z_0: clean latent (B, C, *).
        z_t: noisy latent of the same shape.
        t: (B,) in (0, num_train_timesteps].

    Returns:
        epsilon (B, C, *), in at least float32.
    """
    return (z_t - expand(schedule.alpha(t), z_t) * z_0) / expand(schedule.sigma(t), z_t)


def velocity(schedule: Schedule, z_0: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
    """The slope dz/dt of the probability-flow ODE at z_t, where a denoiser estimates z_0.

    Args:
        schedule: gives alpha, sigma and their derivatives.
        z_0: the denoiser's estimate (B, C, *).
        z_t: noisy latent of the same shape.
        t: (B,) in (0, num_train_timesteps].

    Returns:
        dz/dt per unit of t (B, C, *), in at least float32. Times num_train_timesteps it is per unit of normalised time:
        epsilon - z_0 for a rectified flow.
    """
    epsilon = to_epsilon(schedule, z_0, z_t, t)
    return expand(schedule.alpha_derivative(t), z_t) * z_0 + expand(schedule.sigma_derivative(t), z_t) * epsilon
