"""A small objective whose networks take turns: distribution matching with a fake-score network."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from torch import nn

from consistency_tta.contracts import Learner, Networks, Objective, Optimization, Prediction, Schedule, Step
from consistency_tta.diffusion.weighting import Uniform

#: Settings of the fake-score network, all unlike the student's.
FAKE = Optimization(learning_rate=1e-3, weight_decay=0.2, betas=(0.0, 0.9), warmup_steps=2)


class DistributionMatching(Objective):
    """The student follows the difference of two scores; the fake-score network learns what the student makes.

    Args:
        alternate: whether they take turns, the student first; else both learn at every step.
    """

    def __init__(self, alternate: bool = True) -> None:
        super().__init__()
        self.alternate = alternate
        self.weighting = Uniform()

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """The fake-score network starts as the student."""
        self.fake = deepcopy(cast(nn.Module, networks.student))

    def learners(self) -> dict[str, Learner]:
        """The fake-score network."""
        return {"fake": Learner(self.fake, FAKE)}

    def active(self, step: int) -> set[str]:
        """The student at even steps, the fake-score network at odd ones."""
        if not self.alternate:
            return {"student", "fake"}
        return {"fake"} if step % 2 else {"student"}

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """One query of the student, and the scores of it at another time."""
        assert networks.teacher is not None
        z_0, rng, conditioning = step.clean_latent, step.rng, step.conditioning
        epsilon, noise = rng.normal_like(z_0), rng.normal_like(z_0)
        top = z_0.new_full((len(step),), float(step.schedule.num_train_timesteps))
        t = rng.to_device(1.0 + rng.integers(step.schedule.num_train_timesteps - 1, len(step)))
        student = "student" in step.active
        with torch.set_grad_enabled(student and torch.is_grad_enabled()):
            made = networks.student(step.schedule.prior(epsilon), top, conditioning)
        z_t = step.add_noise(made.detach(), noise, t)
        losses = {}
        if "fake" in step.active:
            losses["fake"] = (self.fake(z_t, t, conditioning) - made.detach()).square().flatten(1).mean(1)
        if not student:
            return Prediction(losses=losses)
        with torch.no_grad():
            target = made + networks.teacher(z_t, t, conditioning) - self.fake(z_t, t, conditioning)
        return Prediction(made, target, z_0, t, t, losses)
