"""Consistency distillation without recordings: all noisy latents come from the teacher's own trajectories."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from consistency_tta.contracts import (
    Conditioning,
    Networks,
    Objective,
    Prediction,
    Schedule,
    Solver,
    Step,
    TimeGrid,
    Weighting,
)
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.solve import DDIM
from consistency_tta.diffusion.weighting import Uniform
from consistency_tta.runtime.errors import ConfigurationError


class TrajectoryBackward(Objective):
    """The student f maps every point of trajectories that the guided teacher generates from noise to their end.

        z_{t_0} = noise at T,   z_{t_{i+1}} = solver(teacher, z_{t_i}, t_i, t_{i+1}, w),   i = 0 ... N - 1,   t_N = 0
        target of f(z_{t_i}, t_i, w) = f_target(z_{t_{i+1}}, t_{i+1}, w), z_{t_N} where t_{i+1} = 0     ``next``
                                     = z_{t_N}                                                          ``end``

    Noised recordings have other noisy latents than generation passes through, more so with guidance; here the student
    learns at those that generation meets, and captions alone are needed. The batch's latents give nothing but a shape.
    It cannot become better than the teacher with this solver and N.

    The loss is the pseudo-Huber distance of ``LatentPseudoHuberLoss``, ``consistency``, the mean over a trajectory's
    pairs; no loss plugin is needed.

    Passes a step: N steps of the solver with the guided teacher; ``pairs`` of the student, with a gradient; for
    ``next`` up to as many of the target network.

    Sources: Tang et al., "Image-Free Timestep Distillation via Continuous-Time Consistency with Trajectory-Sampled
    Pairs", 2025, https://arxiv.org/abs/2511.20410 (TBCM: the trajectories, times drawn between those of a grid, all
    states of a trajectory in one step; there with the continuous-time loss of sCM); Song et al., "Consistency Models",
    2023, https://arxiv.org/abs/2303.01469, algorithm 2 (the loss of neighbouring times); Luhman and Luhman, "Knowledge
    Distillation in Iterative Generative Models for Improved Sampling Speed", 2021, https://arxiv.org/abs/2101.02388
    (the end as target).

    Args:
        solver: one step of the teacher; DDIM if not given.
        grid: where the times are taken from; equal steps if not given.
        num_steps: steps of the grid, N, at least 2.
        random_times: whether each trajectory's times between T and 0 are moved towards the next of the grid, all by the
            same random share; so the student learns at all times.
        pairs: of each trajectory, drawn with replacement; all N if not given.
        target: ``next``, or ``end``, which needs no target network.
        weighting: of the pairs by t; uniform if not given.
        target_ema_decay: of the target network's moving average, in [0, 1).

    Raises:
        ConfigurationError: if a number or the target cannot be right.
    """

    def __init__(
        self,
        solver: Solver | None = None,
        grid: TimeGrid | None = None,
        num_steps: int = 16,
        random_times: bool = True,
        pairs: int | None = None,
        target: Literal["next", "end"] = "next",
        weighting: Weighting | None = None,
        target_ema_decay: float = 0.95,
    ) -> None:
        super().__init__()
        if target not in ("next", "end"):
            raise ConfigurationError(f"expected target to be 'next' or 'end', got {target!r}")
        if num_steps < 2 or (pairs is not None and pairs < 1):
            raise ConfigurationError(f"expected num_steps >= 2 and pairs >= 1, got {num_steps} and {pairs}")
        self.solver, self.grid = solver or DDIM(), grid or UniformGrid()
        self.num_steps, self.random_times, self.pairs = num_steps, random_times, pairs
        self.pair_weighting, self.target = weighting or Uniform(), target  # `weighting` would be of loss plugins
        self.target_ema_decay = target_ema_decay if target == "next" else None

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """Compute the grid's times now: on a device the schedule would have to be waited for."""
        self.times = self.grid(schedule, self.num_steps).float()

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """The consistency loss (B,) of the batch's trajectories."""
        times = self.draw_times(step)
        states = self.trajectories(step, networks, times)
        index, rows = self.draw_pairs(step)  # (pairs B,), on the CPU
        noisy = step.rng.to_device((index + 1 < self.num_steps).nonzero()[:, 0])
        index, rows = step.rng.to_device(index), step.rng.to_device(rows)
        conditioning, t = step.conditioning.rows(rows), times[index, rows]
        if self.target == "end":
            target = states[-1, rows]
        else:
            following = states[index + 1, rows], times[index + 1, rows]
            target = self.next_target(step, networks, *following, conditioning, noisy)
        distance = pseudo_huber(networks.student(states[index, rows], t, conditioning), target)
        weighted = self.pair_weighting(t, step.schedule) * distance
        return Prediction(losses={"consistency": weighted.unflatten(0, (-1, len(step))).mean(0)})

    def draw_times(self, step: Step) -> Tensor:
        """Times (N + 1, B) on the device, falling from T to 0."""
        times = self.times[:, None].expand(-1, len(step))
        if self.random_times:
            lowest = min(step.schedule.lowest_time, float(self.times[-2]))
            between = torch.lerp(times[1:-1], times[2:], step.rng.uniform(len(step))).clamp_min(lowest)
            times = torch.cat([times[:1], between, times[-1:]])
        return step.rng.to_device(times)

    @torch.no_grad()
    def trajectories(self, step: Step, networks: Networks, times: Tensor) -> Tensor:
        """The guided teacher's states (N + 1, B, C, *) at times (N + 1, B), from fresh noise to its samples."""
        assert networks.teacher is not None  # `needs_teacher`
        epsilon = step.rng.normal_like(step.clean_latent)
        states = [step.add_noise(epsilon, epsilon, times[0])]
        for t, s in pairwise(times):
            states.append(self.solver(networks.teacher, states[-1], t, s, step.conditioning))
        return torch.stack(states)

    @torch.no_grad()
    def next_target(
        self, step: Step, networks: Networks, z_s: Tensor, s: Tensor, conditioning: Conditioning, noisy_rows: Tensor
    ) -> Tensor:
        """What the target network makes of the later states z_s (B', C, *) at s (B',), which is z_s itself at s = 0.

        ``noisy_rows`` are the int64 positions with s > 0; to look for them here would wait for the device.
        """
        assert networks.target is not None  # `target_ema_decay`
        rows = step.queried(noisy_rows)
        if not len(rows):
            return z_s
        ends = networks.target(z_s[rows], s[rows], conditioning.rows(rows))
        return z_s.index_copy(0, noisy_rows, ends[: len(noisy_rows)].to(z_s.dtype))

    def draw_pairs(self, step: Step) -> tuple[Tensor, Tensor]:
        """Positions of t along the trajectories and their rows, both (pairs B,) int64 on the CPU, pair by pair."""
        count, batch = self.num_steps, len(step)
        if self.pairs is None:
            index = torch.arange(count)[:, None].expand(-1, batch)
        else:
            index = torch.stack([step.rng.integers(count, batch) for _ in range(self.pairs)])
        return index.flatten(), torch.arange(batch).repeat(len(index))

    @torch.no_grad()
    def metrics(self, step: Step, networks: Networks) -> dict[str, Tensor]:
        """``teacher_distance``: mean of |f(z_T, T, w) - z_{t_N}| / |z_{t_N}|, of the student's one query."""
        times = self.draw_times(step)
        states = self.trajectories(step, networks, times)
        student = networks.student(states[0], times[0], step.conditioning)
        difference = (student - states[-1]).flatten(1).norm(dim=1)
        return {"teacher_distance": (difference / states[-1].flatten(1).norm(dim=1)).mean()}


def pseudo_huber(one: Tensor, other: Tensor) -> Tensor:
    """(sqrt(|one - other|^2 + c^2) - c) / sqrt(d), c = 0.00054 sqrt(d), of latents (B, C, *) of d numbers: (B,)."""
    return ((one - other).square().flatten(1).mean(1) + 0.00054**2).sqrt() - 0.00054
