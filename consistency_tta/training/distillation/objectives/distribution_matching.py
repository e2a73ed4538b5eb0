"""Distribution matching: the student's samples follow the difference of two scores, the teacher's and their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from consistency_tta.contracts import (
    Conditioning,
    Learner,
    Networks,
    Objective,
    Optimization,
    Prediction,
    Schedule,
    Step,
    Weighting,
)
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.weighting import FlooredMinSNR
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.objectives.ramp import Ramp, at_step
from consistency_tta.training.distillation.objectives.times import LogNormalTimes, UniformTimes


class DistributionMatching(Objective):
    """Minimises the KL divergence of the noised samples of student and guided teacher.

        x = student(z_T, T, w)            z_t = alpha_t x + sigma_t epsilon, t uniform in ``time_range``
        gradient of x = (fake(z_t, t, w) - teacher(z_t, t, w)) / mean |x - teacher(z_t, t, w)|

    Both estimate z_0; their difference is that of the scores times sigma_t^2 / alpha_t. The fake-score network learns
    to denoise the student's samples, at each step or more often than the student learns.

    A student that is to make sounds in several queries as well learns of its samples in 1 to ``max_queries`` of them,
    a number more at each of its steps: between two queries the sample is noised again, at times that are drawn and
    fall; gradients go through the last query alone.

    It is a reverse KL: it takes modes, so add what keeps diversity (a ``CombinedObjective`` with consistency or an
    adversary), or lower ``guidance_share``.

    Sources: Yin et al., "One-step Diffusion with Distribution Matching Distillation", 2024,
    https://arxiv.org/abs/2311.18828, eqs. 7 and 8; Yin et al., "Improved Distribution Matching Distillation for Fast
    Image Synthesis", 2024, https://arxiv.org/abs/2405.14867, section 4.2 (two time scales, no regression); Zheng et
    al., "Large Scale Diffusion Distillation via Score-Regularized Continuous-Time Consistency", 2025,
    https://arxiv.org/abs/2510.08431, and its public code (``alternating``; samples of several queries at random times).

    Args:
        fake_optimization: of the fake-score network; the student's if not given.
        fake_steps: optimizer steps of the fake-score network for each one of the student. At 1 both learn at every
            step, of the same samples.
        alternating: whether the student's steps are its own, the fake-score network then learning in ``fake_steps``
            steps between two of them, as in rCM; else it learns in the student's steps as well. Choose a
            ``log_every_n_steps`` without a common divisor with ``fake_steps + 1``: then losses of all turns are logged.
        warmup_steps: optimizer steps at the beginning in which the fake-score network learns alone.
        time_range: lowest and highest t of the noised samples, as shares of the top time.
        times: log-normal ones instead of those of ``time_range``.
        guidance_share: the teacher is guided by 1 + guidance_share (w - 1); a number, or a :class:`Ramp` from one to
            another.
        fake_weighting: of the fake score's squared error of z_0.
        max_queries: most queries of the student for a sample.

    Raises:
        ConfigurationError: if a number cannot be right.
    """

    def __init__(
        self,
        fake_optimization: Optimization | None = None,
        fake_steps: int = 1,
        alternating: bool = False,
        warmup_steps: int = 0,
        time_range: tuple[float, float] = (0.02, 0.98),
        times: LogNormalTimes | None = None,
        guidance_share: float | Ramp = 1.0,
        fake_weighting: Weighting | None = None,
        max_queries: int = 1,
    ) -> None:
        super().__init__()
        if fake_steps < 1 or warmup_steps < 0 or max_queries < 1:
            raise ConfigurationError(
                "expected fake_steps >= 1, warmup_steps >= 0 and max_queries >= 1, got "
                f"{fake_steps}, {warmup_steps} and {max_queries}"
            )
        self.fake_optimization = fake_optimization
        self.fake_steps, self.alternating, self.warmup_steps = fake_steps, alternating, warmup_steps
        self.times: UniformTimes | LogNormalTimes = times or UniformTimes(*time_range)
        self.guidance_share, self.max_queries = guidance_share, max_queries
        self.fake_weighting = fake_weighting or FlooredMinSNR()

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """The fake-score network starts as the teacher, and reads w."""
        teacher = cast(Any, networks.teacher)
        self.fake = getattr(teacher, "denoiser", teacher).student_copy()

    def learners(self) -> dict[str, Learner]:
        """The fake-score network."""
        return {"fake": Learner(self.fake, self.fake_optimization)}

    def active(self, step: int) -> set[str]:
        """The fake-score network, the student at every ``fake_steps``-th step after the warm-up, or in turn."""
        after = step - self.warmup_steps
        if self.alternating and after >= 0:
            return {"fake"} if after % (self.fake_steps + 1) else {"student"}
        return {"fake", "student"} if after >= 0 and after % self.fake_steps == self.fake_steps - 1 else {"fake"}

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """The losses of both networks."""
        sample = self.sample(step, networks)
        losses = {}
        if "fake" in step.active:
            losses["fake"] = self.fake_loss(step, sample.detach())
        if "student" in step.active:
            losses["distribution"] = self.distribution_loss(step, networks, sample)
        return Prediction(losses=losses)

    def sample(self, step: Step, networks: Networks) -> Tensor:
        """What the student makes of noise (B, C, *); that of one query is shared with other objectives."""
        queries = self.queries(step.global_step) if step.training else 1
        if queries == 1:
            return step.generate(networks).latent
        conditioning = step.conditioning
        epsilon = step.rng.normal_like(step.clean_latent)
        t = epsilon.new_full((len(step),), float(step.schedule.num_train_timesteps))
        z_t = step.add_noise(epsilon, epsilon, t)
        second_time = {"s": torch.zeros_like(t)} if step.flow_map else {}
        with torch.no_grad():
            for _ in range(queries - 1):
                latent = networks.student(z_t, t, conditioning, **second_time)
                t = torch.minimum(t, self.times(step))
                z_t = step.add_noise(latent, step.rng.normal_like(latent), t)
        with torch.set_grad_enabled("student" in step.active and torch.is_grad_enabled()):
            return networks.student(z_t, t, conditioning, **second_time)

    def queries(self, step: int) -> int:
        """Of the student for a sample: one more at each step of those that learn of it, then 1 again."""
        after = max(step - self.warmup_steps, 0)
        turns = after // (self.fake_steps + 1)
        if self.alternating:
            after = turns if after % (self.fake_steps + 1) == 0 else after - turns - 1
        return after % self.max_queries + 1

    def fake_loss(self, step: Step, sample: Tensor) -> Tensor:
        """How well the fake-score network denoises samples (B, C, *) of the student: (B,)."""
        z_t, t = self.noised(step, sample)
        error = (self.fake(z_t, t, step.conditioning) - sample).square().flatten(1).mean(1)
        return self.fake_weighting(t, step.schedule) * error

    def distribution_loss(self, step: Step, networks: Networks, sample: Tensor) -> Tensor:
        """A loss (B,) whose gradient with respect to the samples (B, C, *) is that of the divergence, normalised."""
        with torch.no_grad():
            z_t, t = self.noised(step, sample)
            real = cast(Any, networks.teacher)(z_t, t, self.teacher_conditioning(step))
            gradient = self.fake(z_t, t, step.conditioning) - real
            scale = (sample - real).abs().flatten(1).mean(1).clamp_min(1e-6)
            target = sample - gradient / expand(scale, sample)
        return 0.5 * (sample - target).square().flatten(1).mean(1)

    def noised(self, step: Step, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Samples at random times: z_t (B, C, *) and t (B,)."""
        t = self.times(step)
        return step.add_noise(sample, step.rng.normal_like(sample), t), t

    def teacher_conditioning(self, step: Step) -> Conditioning:
        """The conditioning with the teacher's guidance scale."""
        share = at_step(self.guidance_share, step.global_step, step.training)
        return replace(step.conditioning, guidance_scale=1.0 + share * (step.guidance_scale - 1.0))
