"""Consistency distillation of a guided latent diffusion teacher: stage 2, and with losses of sound stage 3."""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import (
    Conditioning,
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
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.sample import sample_diffusion
from consistency_tta.diffusion.solve import Heun
from consistency_tta.diffusion.weighting import Uniform
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.objectives.discretization import DiscretizationSchedule


class ConsistencyDistillation(Objective):
    """The student f(z_t, t, w) maps every point of the guided teacher's trajectories to their end.

        z_s = solver(teacher, z_t, t, s, w)        target = f_target(z_s, s, w);  z_0 where s = 0

    At s = 0 neither teacher nor target network is queried.

    Sources: Bai et al., "ConsistencyTTA: Accelerating Diffusion-Based Text-to-Audio Generation with Consistency
    Distillation", 2024, https://arxiv.org/abs/2309.10740, section 3; Song et al., "Consistency Models", 2023,
    https://arxiv.org/abs/2303.01469, algorithm 2.

    Args:
        solver: one step of the teacher; Heun if not given.
        grid: where the times are taken from; equal steps if not given.
        num_discretization_steps: steps of the grid, N; or how N changes with the optimizer steps.
        terminal_fraction: share of the training examples placed at the top time t = T, the only one a one-query
            generation uses, in addition to those that the grid places there.
        teacher_trajectory_fraction: share of the training examples at the top time whose target is the end of the
            teacher's whole trajectory from the same noise. Each costs ``teacher_steps`` steps of the solver, or nothing
            where the data have trajectories that were solved beforehand (``encode --trajectories``).
        teacher_steps: steps of the teacher's whole trajectory, in training and for ``val/teacher_distance``; 0 for
            none.
        weighting: of losses with ``noise_weighted``; uniform if not given.
        target_ema_decay: of the target network's moving average, in [0, 1); None for the student's own weights, without
            a copy, which is what 0 computes.

    Raises:
        ConfigurationError: if the fractions or the number of steps cannot be right.
    """

    def __init__(
        self,
        solver: Solver | None = None,
        grid: TimeGrid | None = None,
        num_discretization_steps: int | DiscretizationSchedule = 18,
        terminal_fraction: float = 0.0,
        teacher_trajectory_fraction: float = 0.0,
        teacher_steps: int = 18,
        weighting: Weighting | None = None,
        target_ema_decay: float | None = 0.95,
    ) -> None:
        super().__init__()
        if min(terminal_fraction, teacher_trajectory_fraction) < 0 or (
            terminal_fraction + teacher_trajectory_fraction > 1
        ):
            raise ConfigurationError(
                "expected terminal_fraction and teacher_trajectory_fraction in [0, 1], together at most 1, got "
                f"{terminal_fraction} and {teacher_trajectory_fraction}"
            )
        if teacher_steps < 1 and (teacher_trajectory_fraction or teacher_steps < 0):
            raise ConfigurationError(
                f"expected teacher_steps of at least {1 if teacher_trajectory_fraction else 0}, got {teacher_steps}: "
                "it is the number of solver steps to the end of the teacher's trajectory"
            )
        steps = num_discretization_steps
        self.num_steps = DiscretizationSchedule(steps, steps, 1) if isinstance(steps, int) else steps
        self.solver = solver or Heun()
        self.grid = grid or UniformGrid()
        self.terminal_fraction, self.teacher_trajectory_fraction = terminal_fraction, teacher_trajectory_fraction
        self.teacher_steps = teacher_steps
        self.weighting = weighting or Uniform()
        self.target_ema_decay = target_ema_decay

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """Compute all times now: on a device the schedule would have to be waited for."""
        self.times = {number: self.grid(schedule, number).float() for number in self.num_steps.all()}
        self.trajectory = self.grid(schedule, self.teacher_steps) if self.teacher_steps else None

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """One step of consistency distillation."""
        z_0, rng = step.clean_latent, step.rng
        t, s, trajectory_rows = self.draw_times(step)
        noisy_rows = rng.to_device(s.nonzero()[:, 0])
        t, s = rng.to_device(t), rng.to_device(s)
        conditioning = step.conditioning
        epsilon = rng.normal_like(z_0)
        if step.training and self.teacher_trajectory_fraction:
            z_0, epsilon = self.with_trajectories(step, networks, z_0, epsilon, rng.to_device(trajectory_rows))
        z_t = step.add_noise(z_0, epsilon, t)
        target_latent = self.target_latent(step, networks, z_0, z_t, t, s, noisy_rows)
        return Prediction(networks.student(z_t, t, conditioning), target_latent, z_0, t, s)

    def draw_times(self, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """Times t and s (B,), and the positions (int64) of examples that get a whole trajectory; all on the CPU.

        The latter have t = T and s = 0: z_0, which is the target there, is the end of the teacher's trajectory.
        """
        # The last N outside training, so that all validations can be compared.
        times = self.times[self.num_steps(step.global_step) if step.training else self.num_steps.end]
        index = step.rng.integers(len(times) - 1, len(step))
        if not step.training or not (self.terminal_fraction or self.teacher_trajectory_fraction):
            return times[index], times[index + 1], torch.empty(0, dtype=torch.long)
        share = step.rng.uniform(len(step))
        index = torch.where(share < self.teacher_trajectory_fraction + self.terminal_fraction, 0, index)
        whole = share < self.teacher_trajectory_fraction
        return times[index], torch.where(whole, 0.0, times[index + 1]), whole.nonzero()[:, 0]

    def with_trajectories(
        self, step: Step, networks: Networks, z_0: Tensor, epsilon: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """z_0 and noise (B, C, *), those at ``rows`` the two ends of a trajectory of the teacher."""
        if step.batch.trajectory is not None:
            solved = step.batch.trajectory.rows(rows)
            epsilon = epsilon.index_copy(0, rows, solved.noise.to(epsilon.dtype))
            return z_0.index_copy(0, rows, solved.latent.to(z_0.dtype)), epsilon
        queried = step.queried(rows)
        if len(queried):
            ends = self.teacher_latent(networks, epsilon[queried], step.conditioning.rows(queried))
            z_0 = z_0.index_copy(0, rows, ends[: len(rows)].to(z_0.dtype))
        return z_0, epsilon

    @torch.no_grad()
    def teacher_latent(self, networks: Networks, epsilon: Tensor, conditioning: Conditioning) -> Tensor:
        """The end (B, C, *) of the guided teacher's trajectories from noise epsilon (B, C, *)."""
        assert self.trajectory is not None  # __init__ requires teacher_steps where they are needed
        return sample_diffusion(_there(networks.teacher), self.solver, self.trajectory, epsilon, conditioning)

    @torch.no_grad()
    def target_latent(
        self,
        step: Step,
        networks: Networks,
        z_0: Tensor,
        z_t: Tensor,
        t: Tensor,
        s: Tensor,
        noisy_rows: Tensor,
    ) -> Tensor:
        """What the student should return (B, C, *).

        Args:
            step: gives the conditioning.
            networks: teacher and target are queried; the student where there is no target.
            z_0, z_t: (B, C, *).
            t, s: (B,).
            noisy_rows: int64 positions of the examples with s > 0; looking for them here would wait for the device.
        """
        rows = step.queried(noisy_rows)
        if not len(rows):
            return z_0
        some, s = step.conditioning.rows(rows), s[rows]
        z_s = self.solver(_there(networks.teacher), z_t[rows], t[rows], s, some)
        target = networks.student if networks.target is None else networks.target
        return z_0.index_copy(0, noisy_rows, target(z_s, s, some)[: len(noisy_rows)])

    @torch.no_grad()
    def metrics(self, step: Step, networks: Networks) -> dict[str, Tensor]:
        """``teacher_distance``: mean of |f(z_T, T, w) - teacher| / |teacher|, both from the same noise.

        0 for a student whose one query ends where the teacher's trajectory does.
        """
        if not self.teacher_steps:
            return {}
        epsilon, conditioning = step.rng.normal_like(step.clean_latent), step.conditioning
        top = epsilon.new_full((len(step),), float(step.schedule.num_train_timesteps))
        target = self.teacher_latent(networks, epsilon, conditioning).flatten(1)
        student = networks.student(step.add_noise(step.clean_latent, epsilon, top), top, conditioning).flatten(1)
        return {"teacher_distance": ((student - target).norm(dim=1) / target.norm(dim=1)).mean()}


def _there(network: Denoiser | None) -> Denoiser:
    """A network that the objective declares, and so is there."""
    assert network is not None
    return network
