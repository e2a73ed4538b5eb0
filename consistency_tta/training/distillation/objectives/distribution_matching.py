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
from consistency_tta.training.distillation.objectives.times import UniformTimes


class DistributionMatching(Objective):
    """Minimises the KL divergence of the noised samples of student and guided teacher.

        x = student(z_T, T, w)            z_t = alpha_t x + sigma_t epsilon, t uniform in ``time_range``
        gradient of x = (fake(z_t, t, w) - teacher(z_t, t, w)) / mean |x - teacher(z_t, t, w)|

    Both estimate z_0; their difference is that of the scores times sigma_t^2 / alpha_t. The fake-score network learns
    to denoise the student's samples, at each step or more often than the student learns.

    It is a reverse KL: it takes modes, so add what keeps diversity (a ``CombinedObjective`` with consistency or an
    adversary), or lower ``guidance_share``.

    Sources: Yin et al., "One-step Diffusion with Distribution Matching Distillation", 2024,
    https://arxiv.org/abs/2311.18828, eqs. 7 and 8; Yin et al., "Improved Distribution Matching Distillation for Fast
    Image Synthesis", 2024, https://arxiv.org/abs/2405.14867, section 4.2 (two time scales, no regression).

    Args:
        fake_optimization: of the fake-score network; the student's if not given.
        fake_steps: optimizer steps of the fake-score network for each one of the student. At 1 both learn at every
            step, of the same samples.
        warmup_steps: optimizer steps at the beginning in which the fake-score network learns alone.
        time_range: lowest and highest t of the noised samples, as shares of the top time.
        guidance_share: the teacher is guided by 1 + guidance_share (w - 1).
        fake_weighting: of the fake score's squared error of z_0.

    Raises:
        ConfigurationError: if a number cannot be right.
    """

    def __init__(
        self,
        fake_optimization: Optimization | None = None,
        fake_steps: int = 1,
        warmup_steps: int = 0,
        time_range: tuple[float, float] = (0.02, 0.98),
        guidance_share: float = 1.0,
        fake_weighting: Weighting | None = None,
    ) -> None:
        super().__init__()
        if fake_steps < 1 or warmup_steps < 0:
            raise ConfigurationError(
                f"expected fake_steps >= 1 and warmup_steps >= 0, got {fake_steps} and {warmup_steps}"
            )
        self.fake_optimization = fake_optimization
        self.fake_steps, self.warmup_steps = fake_steps, warmup_steps
        self.times, self.guidance_share = UniformTimes(*time_range), guidance_share
        self.fake_weighting = fake_weighting or FlooredMinSNR()

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """The fake-score network starts as the teacher, and reads w."""
        teacher = cast(Any, networks.teacher)
        self.fake = getattr(teacher, "denoiser", teacher).student_copy()

    def learners(self) -> dict[str, Learner]:
        """The fake-score network."""
        return {"fake": Learner(self.fake, self.fake_optimization)}

    def active(self, step: int) -> set[str]:
        """The fake-score network always; the student at every ``fake_steps``-th step after the warm-up."""
        after = step - self.warmup_steps
        return {"fake", "student"} if after >= 0 and after % self.fake_steps == self.fake_steps - 1 else {"fake"}

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """The losses of both networks."""
        sample = step.generate(networks).latent
        losses = {"fake": self.fake_loss(step, sample.detach())}
        if "student" in step.active:
            losses["distribution"] = self.distribution_loss(step, networks, sample)
        return Prediction(losses=losses)

    def fake_loss(self, step: Step, sample: Tensor) -> Tensor:
        """How well the fake-score network denoises samples (B, C, *) of the student: (B,)."""
        z_t, t = self.noised(step, sample)
        error = (self.fake(z_t, t, step.conditioning) - sample).square().flatten(1).mean(1)
        return self.fake_weighting(t, step.schedule) * error

    def distribution_loss(self, step: Step, networks: Networks, sample: Tensor) -> Tensor:
        """A loss (B,) whose gradient with respect to the samples (B, C, *) is that of the divergence, normalised."""
        with torch.no_grad():
            z_t, t = self.noised(step, sample)
            real = cast(Any, networks.teacher)(z_t, t, self.teacher_conditioning(step.conditioning))
            gradient = self.fake(z_t, t, step.conditioning) - real
            scale = (sample - real).abs().flatten(1).mean(1).clamp_min(1e-6)
            target = sample - gradient / expand(scale, sample)
        return 0.5 * (sample - target).square().flatten(1).mean(1)

    def noised(self, step: Step, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Samples at random times: z_t (B, C, *) and t (B,)."""
        t = self.times(step)
        return step.add_noise(sample.detach(), step.rng.normal_like(sample), t), t

    def teacher_conditioning(self, conditioning: Conditioning) -> Conditioning:
        """The conditioning with the teacher's guidance scale."""
        assert conditioning.guidance_scale is not None  # a student reads it
        w = 1.0 + self.guidance_share * (conditioning.guidance_scale - 1.0)
        return replace(conditioning, guidance_scale=w)
