"""Continuous-time consistency (sCM): the student's output does not change along the trajectories."""

from __future__ import annotations

import logging
from typing import Literal

import torch
from torch import Tensor

from consistency_tta.contracts import Networks, Objective, Prediction, Schedule, Step, Weighting
from consistency_tta.diffusion.derivative import central_difference, value_and_derivative
from consistency_tta.diffusion.noise import add_noise, expand, to_epsilon, velocity
from consistency_tta.diffusion.schedules.table import TableSchedule
from consistency_tta.diffusion.weighting import SNRPlusOne
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.objectives.times import HIGHEST_RATIO, LogNormalTimes, lowest_time

log = logging.getLogger(__name__)


class ContinuousConsistency(Objective):
    """Drives the derivative of f(z_t, t, w) along the probability-flow ODE to 0.

        tan(tau) = sigma_t / (alpha_t data_std)                      the angle of TrigFlow, for any schedule
        g = cos(tau) (a + r (df/dtau - a)) / data_std                a = (f - z_0*) / tan(tau)
        target = f - data_std sin(tau) sqrt(D) g / (|g| + c)         without gradients; |g| over the D elements

    z_0* is where the trajectory leads from z_t: the guided teacher's estimate, or with ``guided`` off the clip itself,
    which is consistency training, without a teacher and without guidance. df/dtau is the whole derivative, in z_t and
    t, of the student without gradients. r grows from 0, where f only learns z_0*, to 1.

    The squared error of f and target, weighted by ``SNRPlusOne``, is sCM's loss: the squared error of its network
    F = (cos(tau) x - f) / (data_std sin(tau)). It stays near 1, since its gradient alone matters. Validation leaves the
    normalisation out (r = 1): its loss is then the mean square of g, which is 0 for a consistent student.

    f(z, 0) = z must hold, since a constant f has no derivative either: a student that predicts ``sample`` is refused.

    Forward-mode differentiation works for ``UNetBackbone``, ``StableAudioBackbone`` and ``FluxBackbone``. It makes the
    student's forward pass 3.6 times as long (the bundled student, float32 on a CPU), central differences 2.4 times. In
    bfloat16 the derivative has errors of about 1 %.

    It needs a network that changes smoothly with t. The time embedding of diffusion models turns by up to a radian from
    one discrete time to the next; a teacher that learnt at these times alone leaves what it makes of that to chance.
    TANGO's kind of U-Net, and ours, has most of df/dt from there, and forward mode drives it to ruin: take
    ``central_difference`` for such students (docs/objectives.md has the measurements).

    The adaptive weighting of sCM is left out, as in rCM: of a loss that is normalised it learns a constant. For rCM,
    combine with ``DistributionMatching`` (``CombinedObjective``). Its weight of 0.01 is for sums; for means, as here,
    that is 0.02 sqrt(D).

    Sources: Lu and Song, "Simplifying, Stabilizing and Scaling Continuous-Time Consistency Models", 2024,
    https://arxiv.org/abs/2410.11081, algorithm 1 (c = 0.1; 10,000 steps of warm-up); Zheng et al., "Large Scale
    Diffusion Distillation via Score-Regularized Continuous-Time Consistency", 2025, https://arxiv.org/abs/2510.08431.

    Args:
        times: which t are drawn; log-normal sigma / alpha if not given.
        guided: whether z_0* is the guided teacher's estimate.
        tangent_warmup_steps: optimizer steps in which r grows; 0 for r = 1 from the start.
        normalisation: c, at least 0; None to leave the normalisation out.
        derivative: ``forward_mode``, or ``central_difference`` along the trajectory to z_0*, for students of teachers
            that learnt at discrete times, and for layers without a forward derivative: two more queries, in float32;
            the network's weights must be float32.
        difference_step: of central differences, as a share of T, in (0, 0.2].
        data_std: standard deviation of z_0, above 0; about 1 for scaled latents.
        weighting: of losses with ``noise_weighted``; ``SNRPlusOne(data_std)`` if not given.

    Raises:
        ConfigurationError: if a number cannot be right, or the student predicts ``sample``.
    """

    def __init__(
        self,
        times: LogNormalTimes | None = None,
        guided: bool = True,
        tangent_warmup_steps: int = 1000,
        normalisation: float | None = 0.1,
        derivative: Literal["forward_mode", "central_difference"] = "forward_mode",
        difference_step: float = 0.04,
        data_std: float = 1.0,
        weighting: Weighting | None = None,
    ) -> None:
        super().__init__()
        if tangent_warmup_steps < 0 or (normalisation or 0) < 0 or not 0 < difference_step <= 0.2:
            raise ConfigurationError(
                "expected tangent_warmup_steps >= 0, normalisation >= 0 and difference_step in (0, 0.2], got "
                f"{tangent_warmup_steps}, {normalisation} and {difference_step}"
            )
        if derivative not in ("forward_mode", "central_difference"):
            raise ConfigurationError(
                f"expected derivative to be forward_mode or central_difference, got {derivative!r}"
            )
        self.times = times or LogNormalTimes()
        self.needs_teacher = guided
        self.tangent_warmup_steps, self.normalisation = tangent_warmup_steps, normalisation
        self.derivative, self.difference_step = derivative, difference_step
        self.data_std = data_std
        self.weighting = weighting or SNRPlusOne(data_std)

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """Refuse a student without the boundary condition; warn of forward mode where times are discrete."""
        if getattr(networks.student, "prediction_type", None) == "sample":
            raise ConfigurationError(
                "ContinuousConsistency needs a student with f(z, 0) = z, but prediction_type is sample: "
                "leave it out, or set v_prediction, flow_prediction or epsilon, as the teacher has"
            )
        if self.derivative == "forward_mode" and isinstance(schedule, TableSchedule):
            log.warning(
                "ContinuousConsistency differentiates what the teacher learnt at %d discrete times only, which ruined "
                "such students by forward mode: set derivative to central_difference (docs/objectives.md)",
                schedule.num_train_timesteps,
            )

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """Query the student once, with its derivative."""
        z_0, schedule = step.clean_latent, step.schedule
        t = self.times(step)
        if schedule.zero_terminal_snr:  # at T itself cos(tau), and so g, is 0
            t = torch.minimum(t, schedule.time(torch.full_like(t, HIGHEST_RATIO)))
        z_t = step.add_noise(z_0, step.rng.normal_like(z_0), t)
        end = z_0
        if self.needs_teacher:
            assert networks.teacher is not None
            with torch.no_grad():
                end = networks.teacher(z_t, t, step.conditioning)
        student, derivative = self.differentiate(step, networks, z_t, t, end)
        with torch.no_grad():
            target = self.target(step, student, derivative, t, end)
        return Prediction(student, target, z_0, t, t)

    def differentiate(
        self, step: Step, networks: Networks, z_t: Tensor, t: Tensor, end: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The student's f with gradients, and df/dt per unit of t along the trajectory to ``end``, both (B, C, *)."""

        def student(z_t: Tensor, t: Tensor) -> Tensor:
            return networks.student(z_t, t, step.conditioning)

        schedule = step.schedule
        if self.derivative == "forward_mode":
            return value_and_derivative(student, z_t, t, velocity(schedule, end, z_t, t).to(z_t.dtype))
        epsilon, top = to_epsilon(schedule, end, z_t, t), float(schedule.num_train_timesteps)

        def trajectory(t: Tensor) -> Tensor:
            return add_noise(schedule, end, epsilon, t).to(z_t.dtype)

        return central_difference(student, trajectory, t, self.difference_step * top, lowest_time(schedule), top)

    def target(self, step: Step, student: Tensor, derivative: Tensor, t: Tensor, end: Tensor) -> Tensor:
        """What the student should return (B, C, *); arguments as :meth:`differentiate` returns and takes them."""
        cos, sin, speed = (expand(value, student) for value in self.angle(t, step.schedule))
        toward_end = cos / sin * (student - end)
        share = self.tangent_share(step)
        g = cos * (toward_end + share * (derivative / speed - toward_end)) / self.data_std
        if self.normalisation is not None and step.training:
            norm = g.flatten(1).norm(dim=1)
            g = g * expand(student[0].numel() ** 0.5 / (norm + self.normalisation).clamp_min(1e-12), g)
        return student - self.data_std * sin * g

    def angle(self, t: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor, Tensor]:
        """Cosine and sine of tau, and dtau/dt, each (B,)."""
        alpha, sigma = self.data_std * schedule.alpha(t), schedule.sigma(t)
        norm = (alpha.square() + sigma.square()).sqrt()
        turning = alpha * schedule.sigma_derivative(t) - sigma * self.data_std * schedule.alpha_derivative(t)
        return alpha / norm, sigma / norm, turning / norm.square()

    def tangent_share(self, step: Step) -> float:
        """R; 1 in validation."""
        if not step.training or not self.tangent_warmup_steps:
            return 1.0
        return min(step.global_step / self.tangent_warmup_steps, 1.0)
