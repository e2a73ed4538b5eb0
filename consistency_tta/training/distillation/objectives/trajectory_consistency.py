"""Trajectory consistency distillation: the student maps any point of a trajectory to any later one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from consistency_tta.contracts import (
    Denoiser,
    Networks,
    Objective,
    Prediction,
    Schedule,
    Solver,
    Step,
    TimeGrid,
    Weighting,
)
from consistency_tta.diffusion.flow_map import estimate_between, jump
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.solve import Heun, transfer
from consistency_tta.diffusion.weighting import Uniform
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.objectives.discretization import DiscretizationSchedule

#: Where the student's jump and its target are compared.
COMPARISONS = ("estimate", "trajectory", "end")


class TrajectoryConsistency(Objective):
    """The student jumps from t to any s as the target network does from a point u between them.

        z_u = solver(teacher, z_t, t, u, w)        z_s = jump(target, z_u, u, s, w);  z_u where s = u

    All three times are on the grid, t > u >= s. The student's jump is compared with z_s in one of three ways, which
    agree at s = 0:

    - ``estimate``: the student's D(z_t, t, s) and the D whose straight step leads from z_t to z_s, both clean latents;
    - ``trajectory``: the two z_s, as in TCD, which gives short jumps little weight;
    - ``end``: where the target network takes the two z_s from s to 0, as in CTM, with gradients through the student's.

    CTM's further losses are other objectives: denoising score matching is guidance distillation at s = t, and its
    adversary an adversarial objective.

    Sources: Kim et al., "Consistency Trajectory Models: Learning Probability Flow ODE Trajectory of Diffusion", 2023,
    https://arxiv.org/abs/2310.02279, section 3 (CTM); Zheng et al., "Trajectory Consistency Distillation: Improved
    Latent Consistency Distillation by Semi-Linear Consistency Function with Trajectory Mapping", 2024,
    https://arxiv.org/abs/2402.19159, section 4 (TCD).

    Args:
        solver: of the teacher; Heun if not given.
        grid: where the times are taken from; equal steps if not given.
        num_discretization_steps: steps of the grid, N; or how N changes with the optimizer steps.
        solver_steps: the most steps of the solver from t to u. Their number is drawn from 1 to this; TCD takes 1.
        terminal_fraction: share of the training examples at t = T with s = 0, the jump of a one-query generation, in
            addition to those that the grid places there.
        compare: ``estimate``, ``trajectory`` or ``end``.
        weighting: of losses with ``noise_weighted``; uniform if not given.
        target_ema_decay: of the target network's moving average, in [0, 1).

    Raises:
        ConfigurationError: if an option is out of its range.
    """

    second_time = True

    def __init__(
        self,
        solver: Solver | None = None,
        grid: TimeGrid | None = None,
        num_discretization_steps: int | DiscretizationSchedule = 18,
        solver_steps: int = 1,
        terminal_fraction: float = 0.0,
        compare: Literal["estimate", "trajectory", "end"] = "estimate",
        weighting: Weighting | None = None,
        target_ema_decay: float = 0.95,
    ) -> None:
        super().__init__()
        if solver_steps < 1 or not 0 <= terminal_fraction <= 1:
            raise ConfigurationError(
                f"expected solver_steps >= 1 and terminal_fraction in [0, 1], got {solver_steps} and "
                f"{terminal_fraction}"
            )
        if compare not in COMPARISONS:
            raise ConfigurationError(f"expected compare to be one of {', '.join(COMPARISONS)}, got {compare!r}")
        steps = num_discretization_steps
        self.num_steps = DiscretizationSchedule(steps, steps, 1) if isinstance(steps, int) else steps
        self.solver, self.grid = solver or Heun(), grid or UniformGrid()
        self.solver_steps, self.terminal_fraction, self.compare = solver_steps, terminal_fraction, compare
        self.weighting = weighting or Uniform()
        self.target_ema_decay = target_ema_decay

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """Compute all times now: on a device the schedule would have to be waited for."""
        self.times = {number: self.grid(schedule, number).float() for number in self.num_steps.all()}

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """One step of trajectory consistency distillation."""
        z_0, rng, schedule = step.clean_latent, step.rng, step.schedule
        target = networks.target
        assert target is not None  # `target_ema_decay`
        times, index_t, index_u, index_s = self.draw_times(step)
        t, s = rng.to_device(times[index_t]), rng.to_device(times[index_s])
        conditioning = step.conditioning
        z_t = step.add_noise(z_0, rng.normal_like(z_0), t)
        estimate = networks.student(z_t, t, conditioning, s)
        with torch.no_grad():
            z_s = self.target_latent(step, networks, z_t, times, (index_t, index_u, index_s))
        if self.compare == "estimate":
            return Prediction(estimate, estimate_between(schedule, z_t, z_s, t, s).to(z_t.dtype), z_0, t, s)
        student = transfer(schedule, z_t, estimate, t, s).to(z_t.dtype)
        if self.compare == "end":
            rows = rng.to_device(times[index_s].nonzero()[:, 0])
            student = _to_end(step, target, student, s, rows)
            with torch.no_grad():
                z_s = _to_end(step, target, z_s, s, rows)
        return Prediction(student, z_s, z_0, t, s)

    def draw_times(self, step: Step) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The grid's times (N + 1,), and the positions (B,) of t, u and s in it; all on the CPU."""
        # The last N and no further pairs outside training, so that all validations can be compared.
        times = self.times[self.num_steps(step.global_step) if step.training else self.num_steps.end]
        rng, last = step.rng, len(times) - 1
        index_t, share, length = rng.integers(last, len(step)), rng.uniform(len(step)), rng.uniform(len(step))
        index_s = index_t + 1 + (share * (last - index_t)).long()
        if step.training and self.terminal_fraction:
            terminal = rng.uniform(len(step)) < self.terminal_fraction
            index_t, index_s = torch.where(terminal, 0, index_t), torch.where(terminal, last, index_s)
        index_u = torch.minimum(index_t + 1 + (length * self.solver_steps).long(), index_s)
        return times, index_t, index_u, index_s

    def target_latent(
        self, step: Step, networks: Networks, z_t: Tensor, times: Tensor, indices: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Z_s (B, C, *): by the teacher's solver to u, from there by the target network.

        Args:
            step: gives the conditioning.
            networks: teacher and target are queried.
            z_t: (B, C, *).
            times: (N + 1,), on the CPU.
            indices: positions (B,) of t, u and s in ``times``, on the CPU.
        """
        teacher, target = networks.teacher, networks.target
        assert teacher is not None
        assert target is not None
        to_device, conditioning, latent = step.rng.to_device, step.conditioning, z_t
        index_t, index_u, index_s = indices
        for taken in range(self.solver_steps):
            here = index_t + taken
            on_the_way = (here < index_u).nonzero()[:, 0]
            queried = step.queried(on_the_way)
            if len(queried):
                rows, here = to_device(queried), here[queried].clamp(max=len(times) - 2)
                start, end = (to_device(times[index]) for index in (here, here + 1))
                moved = self.solver(teacher, latent[rows], start, end, conditioning.rows(rows))
                latent = latent.index_copy(0, to_device(on_the_way), moved[: len(on_the_way)])
        not_there = (index_u < index_s).nonzero()[:, 0]
        queried = step.queried(not_there)
        if len(queried):
            rows = to_device(queried)
            u, s = (to_device(times[index[queried]]) for index in (index_u, index_s))
            moved = jump(target, latent[rows], u, s, conditioning.rows(rows))
            latent = latent.index_copy(0, to_device(not_there), moved[: len(not_there)])
        return latent


def _to_end(step: Step, network: Denoiser, z_s: Tensor, s: Tensor, rows: Tensor) -> Tensor:
    """Z_0 (B, C, *) of z_s by a network; only those at ``rows`` are not there yet."""
    queried = step.queried(rows)
    if not len(queried):
        return z_s
    # A row in place of none may have s = 0, where a jump has no value.
    start = s[queried] if len(rows) else torch.full_like(s[:1], float(step.schedule.num_train_timesteps))
    ends = jump(network, z_s[queried], start, torch.zeros_like(start), step.conditioning.rows(queried))
    # That row stays in the graph: a sharded network also gathers its weights in the backward pass.
    return z_s.index_copy(0, rows, ends[: len(rows)]) + 0 * ends[len(rows) :].sum()
