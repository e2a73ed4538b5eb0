"""The noise schedule: how much signal and how much noise z_t holds.

    z_t = alpha_t z_0 + sigma_t epsilon,    alpha_t^2 + sigma_t^2 = 1,    r_t = sigma_t / alpha_t

Time runs over [0, T] with T = num_train_timesteps. t = 0 is clean (r = 0) and t = k + 1 is the noise level that a
diffusers scheduler calls timestep k, so r is known at whole t. Between whole t it is interpolated linearly, which is
what the Heun and Euler schedulers of diffusers do for fractional timesteps (``np.interp`` over their sigmas, whose
"sigma" is our r; https://github.com/huggingface/diffusers, schedulers/scheduling_heun_discrete.py, ``set_timesteps``).
alpha and sigma follow from r and satisfy the variance-preserving identity at every t.

Sources: Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, https://arxiv.org/abs/2006.11239, eq. 4
(alpha_t^2 there is alpha-bar); Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based
Generative Models", 2022, https://arxiv.org/abs/2206.00364, appendix C (r is the noise level of z_t / alpha_t).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from consistency_tta.contracts import Schedule


def expand(values: Tensor, like: Tensor) -> Tensor:
    """Per-example values (B,) as (B, 1, ..., 1), to broadcast against ``like`` (B, ...)."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def add_noise(schedule: Schedule, z_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
    """Noise z_0 to time t, in at least float32.

    Args:
        schedule: gives alpha and sigma.
        z_0: clean latent (B, C, T, F), or any other trailing shape.
        epsilon: standard normal noise of the same shape.
        t: (B,) in [0, num_train_timesteps].

    Returns:
        z_t = alpha_t z_0 + sigma_t epsilon, of z_0's shape and dtype.
    """
    z_t = expand(schedule.alpha(t), z_0) * z_0 + expand(schedule.sigma(t), z_0) * epsilon
    return z_t.to(z_0.dtype)


class VariancePreservingSchedule(nn.Module):
    """A variance-preserving schedule read from a table (a :class:`~consistency_tta.contracts.Schedule`).

    The table moves with the module, is not part of its state_dict, and stays in float32 when the module is cast to
    bfloat16 or float16. Results are float32, or float64 where t or the table is. No method waits for the device.

    Args:
        alphas_cumprod: alpha^2 at t = 1 .. T, each in (0, 1), strictly falling.

    Raises:
        ValueError: if ``alphas_cumprod`` is not so.
    """

    table: Tensor

    def __init__(self, alphas_cumprod: Tensor | Sequence[float]) -> None:
        super().__init__()
        squared = torch.as_tensor(alphas_cumprod, dtype=torch.float64, device="cpu").detach()
        if squared.ndim != 1 or len(squared) == 0:
            raise ValueError(f"alphas_cumprod must be a list of T >= 1 numbers, but has shape {tuple(squared.shape)}")
        if squared[-1] == 0:
            raise ValueError(
                "alphas_cumprod ends in 0 (zero terminal SNR), where sigma / alpha is infinite and z_T holds no signal "
                "to solve from: use a schedule whose last alpha is above 0"
            )
        ratio = ((1 - squared) / squared).sqrt()
        table = torch.cat([ratio.new_zeros(1), ratio]).float()
        if not (table.isfinite().all() and (table.diff() > 0).all()):
            raise ValueError(
                "alphas_cumprod must lie in (0, 1) and fall strictly, so that the noise level rises at every step, "
                f"but it runs from {squared[0].item():g} to {squared[-1].item():g} with a step that does not: "
                "check the betas of the scheduler's configuration, each must be in (0, 1)"
            )
        self.num_train_timesteps = len(squared)
        self.register_buffer("table", table, persistent=False)

    @classmethod
    def from_scheduler_config(cls, config: Mapping[str, Any]) -> Self:
        """Read the noise schedule of any diffusers scheduler that was trained with betas.

        Args:
            config: a scheduler's ``config``, or the content of ``scheduler/scheduler_config.json``. Used are
                ``num_train_timesteps``, ``beta_start``, ``beta_end``, ``beta_schedule`` and ``trained_betas``.

        Raises:
            ValueError: if the configuration has no betas, an unknown ``beta_schedule``, or asks for zero terminal SNR.
        """
        if config.get("rescale_betas_zero_snr"):
            raise ValueError(
                "the scheduler's configuration sets rescale_betas_zero_snr: at the last step alpha would be 0 and "
                "sigma / alpha infinite, in which neither a time grid nor a solver here is defined. "
                "Set rescale_betas_zero_snr to false, or use a teacher trained without it"
            )
        if config.get("trained_betas") is None and config.get("beta_schedule") is None:
            # DDPMScheduler would fill in its own defaults, silently wrong for a flow-matching scheduler, say.
            raise ValueError(
                "the scheduler's configuration must have trained_betas, or beta_schedule with beta_start and beta_end, "
                f"but has only {sorted(config)}: it does not describe a variance-preserving schedule"
            )
        try:
            scheduler = DDPMScheduler.from_config(dict(config))
        except NotImplementedError as error:
            raise ValueError(
                f"unknown beta_schedule {config['beta_schedule']!r}: diffusers.DDPMScheduler knows linear, "
                "scaled_linear and squaredcos_cap_v2, among others; for any other give trained_betas"
            ) from error
        return cls(scheduler.alphas_cumprod)

    def ratio(self, t: Tensor) -> Tensor:
        """sigma_t / alpha_t for t in [0, T], of t's shape; t is clamped to that range."""
        table = self._table_for(t)
        t = t.to(table.dtype).clamp(0, self.num_train_timesteps)
        index = t.long().clamp(max=self.num_train_timesteps - 1)
        return torch.lerp(table[index], table[index + 1], t - index)

    def time(self, ratio: Tensor) -> Tensor:
        """The t in [0, T] whose sigma_t / alpha_t is ``ratio``, of its shape; clamped to [0, T]."""
        table = self._table_for(ratio)
        ratio = ratio.to(table.dtype).contiguous()
        index = (torch.searchsorted(table, ratio) - 1).clamp(0, self.num_train_timesteps - 1)
        low, high = table[index], table[index + 1]
        return (index + (ratio - low) / (high - low)).clamp(0, self.num_train_timesteps)

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale alpha_t in (0, 1], of t's shape."""
        return (1 + self.ratio(t).square()).rsqrt()

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale sigma_t in [0, 1), of t's shape."""
        ratio = self.ratio(t)
        return ratio * (1 + ratio.square()).rsqrt()

    def snr(self, t: Tensor) -> Tensor:
        """alpha_t^2 / sigma_t^2, of t's shape; infinite at t = 0."""
        return self.ratio(t).square().reciprocal()

    def add_noise(self, z_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """z_t (B, C, T, F) of z_0 and epsilon (B, C, T, F) at t (B,); see :func:`add_noise`."""
        return add_noise(self, z_0, epsilon, t)

    def prior(self, epsilon: Tensor) -> Tensor:
        """Where generation starts: z_T = sigma_T epsilon, of the shape and dtype of epsilon (B, C, T, F)."""
        t = torch.full(epsilon.shape[:1], float(self.num_train_timesteps), device=epsilon.device)
        return add_noise(self, torch.zeros_like(epsilon), epsilon, t)

    def _table_for(self, values: Tensor) -> Tensor:
        # Time grids live on the CPU whatever the schedule's device. Two casts, because MPS has no float64.
        return self.table.to(values.device).to(torch.promote_types(self.table.dtype, values.dtype))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        table = self.table
        super()._apply(fn, recurse)
        if torch.finfo(self.table.dtype).bits < 32:
            # In bfloat16 whole neighbourhoods of timesteps would share one noise level.
            self.table = table.to(self.table.device)
        return self
