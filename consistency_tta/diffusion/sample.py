"""Sampling of latents: by many solver steps, as a teacher, or by one query or a few, as a student."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from tqdm import tqdm

from consistency_tta.contracts import Conditioning, Denoiser, Schedule, Solver, TimeGrid
from consistency_tta.diffusion.flow_map import jump
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.noise import add_noise, expand
from consistency_tta.runtime.errors import ConfigurationError

#: Called after each step with its index, its time t and the latents (B, C, *); returns the latents to go on with.
OnStep = Callable[[int, float, Tensor], Tensor]


@torch.no_grad()
def sample_diffusion(
    denoiser: Denoiser,
    solver: Solver,
    grid_times: Tensor,
    noise: Tensor,
    conditioning: Conditioning,
    progress: bool = False,
    on_step: OnStep | None = None,
) -> Tensor:
    """Generate by solving the probability-flow ODE from pure noise.

    Args:
        denoiser: the teacher, usually guided.
        solver: any solver.
        grid_times: (N + 1,) from a time grid, falling strictly from num_train_timesteps to 0; best on the CPU.
        noise: standard normal (B, C, *).
        conditioning: for B examples.
        progress: whether to show a progress bar.
        on_step: see :data:`OnStep`.

    Returns:
        z_0 (B, C, *), of the noise's dtype.

    Raises:
        ConfigurationError: if ``grid_times`` is not so.
    """
    times = _check_grid(grid_times, denoiser.schedule)
    z_t = _prior(denoiser.schedule, noise)
    steps = list(pairwise(times))
    for index, (t, s) in enumerate(tqdm(steps, desc="diffusion", disable=not progress)):
        z_t = solver(denoiser, z_t, _fill(t, noise), _fill(s, noise), conditioning)
        z_t = z_t if on_step is None else on_step(index, t, z_t)
    return z_t


@torch.no_grad()
def sample_consistency(
    denoiser: Denoiser,
    noise: Tensor,
    conditioning: Conditioning,
    times: Sequence[float] | Tensor,
    generator: torch.Generator | list[torch.Generator] | None = None,
    progress: bool = False,
    on_step: OnStep | None = None,
) -> Tensor:
    """Generate with a consistency model: one query, or several with fresh noise before each but the first.

    Song, Dhariwal, Chen, Sutskever, "Consistency Models", 2023, https://arxiv.org/abs/2303.01469, algorithm 1 (in
    variance-preserving form).

    Args:
        denoiser: the student.
        noise: standard normal (B, C, *).
        conditioning: for B examples, with the guidance scale if the student has learnt guidance.
        times: one for each query, falling strictly from num_train_timesteps, all above 0 (:func:`consistency_times`).
        generator: draws the fresh noise; one for the batch, or one for each example.
        progress: whether to show a progress bar, with two queries or more.
        on_step: see :data:`OnStep`.

    Returns:
        z_0 (B, C, *), of the noise's dtype.

    Raises:
        ConfigurationError: if ``times`` is not so.
    """
    schedule = denoiser.schedule
    times = [float(time) for time in times]
    _check_falling(times, float(schedule.num_train_timesteps), "times")
    if times[-1] <= 0:
        raise ConfigurationError(f"a denoiser is defined for times above 0, but times is {times}: leave out the last")
    z_t = _prior(schedule, noise)
    z_0 = denoiser(z_t, _fill(times[0], noise), conditioning).to(noise.dtype)
    z_0 = z_0 if on_step is None else on_step(0, times[0], z_0)
    progress = progress and len(times) > 1
    for index, time in enumerate(tqdm(times[1:], desc="consistency", disable=not progress), 1):
        epsilon = randn_tensor(noise.shape, generator=generator, device=noise.device, dtype=noise.dtype)
        z_t = add_noise(schedule, z_0, epsilon, _fill(time, noise))
        z_0 = denoiser(z_t, _fill(time, noise), conditioning).to(noise.dtype)
        z_0 = z_0 if on_step is None else on_step(index, time, z_0)
    return z_0


@torch.no_grad()
def sample_trajectory(
    denoiser: Denoiser,
    noise: Tensor,
    conditioning: Conditioning,
    grid_times: Sequence[float] | Tensor,
    gamma: float = 0.0,
    generator: torch.Generator | list[torch.Generator] | None = None,
    progress: bool = False,
    on_step: OnStep | None = None,
) -> Tensor:
    """Generate with a flow map: one query for each step of a grid.

    From t to the next time s it jumps to a cleaner s' and adds the noise that is missing at s. With r = sigma / alpha,

        r_s'^2 = (1 - gamma^2) r_s^2        z_s / alpha_s = z_s' / alpha_s' + gamma r_s epsilon

    Kim et al., "Consistency Trajectory Models", 2023, https://arxiv.org/abs/2310.02279, algorithm 3. TCD (Zheng et al.,
    2024, https://arxiv.org/abs/2402.19159, algorithm 4) differs in s' = (1 - gamma) s, which agrees at both ends.

    Args:
        denoiser: the student, which reads a second time.
        noise: standard normal (B, C, *).
        conditioning: for B examples, with the guidance scale if the student has learnt guidance.
        grid_times: (N + 1,) falling strictly from num_train_timesteps to 0; N queries.
        gamma: in [0, 1]. 0 draws no further noise; 1 is :func:`sample_consistency`.
        generator: draws the fresh noise; one for the batch, or one for each example.
        progress: whether to show a progress bar.
        on_step: see :data:`OnStep`.

    Returns:
        z_0 (B, C, *), of the noise's dtype.

    Raises:
        ConfigurationError: if ``grid_times`` is not so.
    """
    schedule = denoiser.schedule
    times = _check_grid(grid_times, schedule)
    z_t = _prior(schedule, noise)
    for index, (t, s) in enumerate(tqdm(list(pairwise(times)), desc="trajectory", disable=not progress)):
        start, end = _fill(t, noise), _fill(s, noise)
        if not gamma or not s:
            z_t = jump(denoiser, z_t, start, end, conditioning)
        else:
            cleaner = schedule.time(schedule.ratio(end) * (1 - gamma**2) ** 0.5).to(end.dtype)
            z_t = jump(denoiser, z_t, start, cleaner, conditioning)
            epsilon = randn_tensor(noise.shape, generator=generator, device=noise.device, dtype=noise.dtype)
            kept, added = schedule.alpha(end) / schedule.alpha(cleaner), gamma * schedule.sigma(end)
            z_t = (expand(kept, noise) * z_t + expand(added, noise) * epsilon).to(noise.dtype)
        z_t = z_t if on_step is None else on_step(index, t, z_t)
    return z_t


def consistency_times(schedule: Schedule, num_steps: int, grid: TimeGrid | None = None) -> Tensor:
    """Times of a student's queries, falling from num_train_timesteps, above 0; (num_steps,) float64 on the CPU.

    Args:
        schedule: of the student.
        num_steps: how many queries.
        grid: from whose times, all but the last, which is 0; equal steps if not given. With ``LinspaceGrid`` they are
            those of the official ConsistencyTTA, whose last query is at t = 1.

    Raises:
        ConfigurationError: if ``num_steps`` is not from 1 to num_train_timesteps.
    """
    return (grid or UniformGrid())(schedule, num_steps)[:-1]


def _check_grid(grid_times: Sequence[float] | Tensor, schedule: Schedule) -> list[float]:
    """The times of a grid as numbers."""
    times, start = [float(time) for time in grid_times], float(schedule.num_train_timesteps)
    if len(times) < 2 or times[-1] != 0:
        raise ConfigurationError(f"grid_times must fall from {start:g} to 0, but is {times}: make it with a TimeGrid")
    _check_falling(times, start, "grid_times")
    return times


def _check_falling(times: list[float], start: float, name: str) -> None:
    if not times or times[0] != start or any(s >= t for t, s in pairwise(times)):
        raise ConfigurationError(
            f"{name} must start at num_train_timesteps = {start:g} and fall strictly, but is {times}"
        )


def _fill(time: float, like: Tensor) -> Tensor:
    """A time for all B examples (B,), in at least float32."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.full(like.shape[:1], time, device=like.device, dtype=dtype)


def _prior(schedule: Schedule, noise: Tensor) -> Tensor:
    # VariancePreservingSchedule.prior for any Schedule: those of third parties have alpha and sigma, but no prior.
    start = _fill(float(schedule.num_train_timesteps), noise)
    return add_noise(schedule, torch.zeros_like(noise), noise, start)
