"""MeanFlow: the student learns average velocities from their own derivative in time."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from consistency_tta.contracts import Conditioning, Networks, Objective, Prediction, Step
from consistency_tta.diffusion.derivative import directional_derivative
from consistency_tta.diffusion.flow_map import noise_share, noise_share_derivative, time_of_share
from consistency_tta.diffusion.noise import expand, velocity
from consistency_tta.diffusion.solve import transfer
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.objectives.alpha_schedule import AlphaSchedule
from consistency_tta.training.distillation.objectives.time_pairs import TimePairs


class MeanFlow(Objective):
    """The student's average velocity U satisfies the MeanFlow identity on any schedule.

        U(z_t, t, s) = V(z_t, t) - (u_t - u_s) dU/du,    u = sigma / (alpha + sigma)

    V is the instantaneous velocity, guided by w. The student returns D = x_t - u_t U (see
    :mod:`consistency_tta.diffusion.flow_map`), and for D the identity reads, with q = u_s / u_t and no gradient through
    the right-hand side,

        D = D_V + (1 - q) (D - D_tangent) - (u_t - u_s) dD/du

    D_V and D_tangent are the estimates of z_0 that stand for V and for the velocity along which dD/du is taken. At
    s = t the target is D_V: the student learns the guided denoiser. Variants:

    - ``velocity="teacher"`` distils: V is the guided teacher's. With ``"data"`` the conditional velocity is that of
      the data, guided by the teacher's unconditional one: D_V = w z_0 + (1 - w) teacher(z_t, t, w = 0). That is right
      on average without the teacher's errors with captions, and noisier.
    - ``tangent="student"``: the derivative is taken along the student's own velocity at s = t, one more query, as in
      improved MeanFlow. Its loss of V = U + (u_t - u_s) dU/du has the same value and gradient as the one above.
    - ``alpha``: alpha-Flow. While alpha > 0, a finite difference replaces the derivative, with m between s and t:
      D = D_V + (1 - alpha) (u_t / u_m) (D(z_m, m, s) - D_V), u_m = alpha u_s + (1 - alpha) u_t.

    The loss is the squared error of U, e = mean((D - target)^2) / u_t^2, divided by (e + c)^p without gradient; under
    alpha-Flow it is alpha e' / (e' + c)^p with e' = e / alpha^2, whose gradient tends to MeanFlow's. Validation logs
    e of MeanFlow itself. Loss plugins of latents do not apply.

    Sources: Geng et al., "Mean Flows for One-step Generative Modeling", 2025, https://arxiv.org/abs/2505.13447,
    sections 4.1 to 4.3; Geng et al., "Improved Mean Flows: On the Challenges of Fastforward Generative Models", 2025,
    https://arxiv.org/abs/2512.02012; Zhang et al., "AlphaFlow: Understanding and Improving MeanFlow Models", 2025,
    https://arxiv.org/abs/2510.20771.

    Args:
        velocity: what the instantaneous velocity is: ``teacher`` or ``data``. ``data`` needs a teacher that answers
            w = 0, which any teacher guided in two queries does.
        tangent: along which velocity the derivative is taken: the same (``velocity``), or the ``student``'s own.
        alpha: the curriculum of alpha-Flow; none if not given.
        times: how t and s are drawn.
        adaptive_power: p >= 0; 0 leaves the squared error as it is.
        adaptive_constant: c > 0.

    Raises:
        ConfigurationError: if an option is none of these.
    """

    second_time = True

    def __init__(
        self,
        velocity: Literal["teacher", "data"] = "teacher",
        tangent: Literal["velocity", "student"] = "velocity",
        alpha: AlphaSchedule | None = None,
        times: TimePairs = TimePairs(),  # noqa: B008  # frozen
        adaptive_power: float = 1.0,
        adaptive_constant: float = 1e-3,
    ) -> None:
        super().__init__()
        if velocity not in ("teacher", "data"):
            raise ConfigurationError(f"expected velocity to be teacher or data, got {velocity!r}")
        if tangent not in ("velocity", "student"):
            raise ConfigurationError(f"expected tangent to be velocity or student, got {tangent!r}")
        if adaptive_power < 0 or adaptive_constant <= 0:
            raise ConfigurationError(
                f"expected adaptive_power >= 0 and adaptive_constant > 0, got {adaptive_power} and {adaptive_constant}"
            )
        self.velocity, self.tangent, self.alpha, self.times = velocity, tangent, alpha, times
        self.adaptive_power, self.adaptive_constant = adaptive_power, adaptive_constant

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """One step of MeanFlow."""
        z_0, schedule = step.clean_latent, step.schedule
        alpha = self.alpha(step.global_step) if self.alpha is not None and step.training else 0.0
        t, s, apart = self.times.draw(schedule, step.rng, len(step))
        conditioning = step.conditioning
        z_t = step.add_noise(z_0, step.rng.normal_like(z_0), t)
        # First with gradients: autocast then keeps weights that have them.
        estimate = networks.student(z_t, t, conditioning, s)
        with torch.no_grad():
            target = self.instantaneous(networks, z_0, z_t, t, conditioning)
            rows = step.queried(apart)
            if len(rows) and alpha < 1:
                arguments = (target[rows], z_t[rows], t[rows], s[rows], conditioning.rows(rows))
                average = (
                    self.finite_difference(networks, alpha, *arguments)
                    if alpha
                    else self.identity(networks, estimate[rows], *arguments)
                )
                target = target.index_copy(0, apart, average[: len(apart)].to(target.dtype))
        squared = ((estimate - target) / expand(noise_share(schedule, t), z_t)).square().flatten(1).mean(1)
        if not step.training:
            return Prediction(losses={"mean_flow": squared})
        scale = torch.ones_like(squared)
        if alpha:
            scale[apart] = alpha
        squared = squared / scale.square()
        weight = scale / (squared.detach() + self.adaptive_constant) ** self.adaptive_power
        return Prediction(losses={"mean_flow": weight * squared})

    def instantaneous(
        self, networks: Networks, z_0: Tensor, z_t: Tensor, t: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """D_V (B, C, *): the estimate of z_0 that stands for the instantaneous velocity."""
        assert networks.teacher is not None  # `needs_teacher`
        if self.velocity == "teacher":
            return networks.teacher(z_t, t, conditioning)
        assert conditioning.guidance_scale is not None  # a student reads it
        without = replace(conditioning, guidance_scale=torch.zeros_like(conditioning.guidance_scale))
        w = expand(conditioning.guidance_scale, z_0)
        return w * z_0 + (1 - w) * networks.teacher(z_t, t, without)

    def identity(
        self,
        networks: Networks,
        estimate: Tensor,
        instantaneous: Tensor,
        z_t: Tensor,
        t: Tensor,
        s: Tensor,
        conditioning: Conditioning,
    ) -> Tensor:
        """MeanFlow's target (B, C, *).

        Args:
            networks: the student is queried.
            estimate: D(z_t, t, s) (B, C, *).
            instantaneous: D_V (B, C, *).
            z_t: (B, C, *).
            t, s: (B,), t > s.
            conditioning: for B examples.
        """
        student, schedule = networks.student, networks.student.schedule
        along = student(z_t, t, conditioning, t) if self.tangent == "student" else instantaneous
        u_t, u_s = noise_share(schedule, t), noise_share(schedule, s)
        # Scaled so that the derivative comes out times u_t - u_s.
        duration = (u_t - u_s) / noise_share_derivative(schedule, t)
        change = directional_derivative(
            lambda z, time: student(z, time, conditioning, s),
            (z_t, t),
            (expand(duration, z_t) * velocity(schedule, along, z_t, t), duration),
        )
        return instantaneous + expand(1 - u_s / u_t, z_t) * (estimate - along) - change

    def finite_difference(
        self,
        networks: Networks,
        alpha: float,
        instantaneous: Tensor,
        z_t: Tensor,
        t: Tensor,
        s: Tensor,
        conditioning: Conditioning,
    ) -> Tensor:
        """alpha-Flow's target (B, C, *) for 0 < alpha < 1; other arguments as of :meth:`identity`."""
        schedule = networks.student.schedule
        u_t, u_s = noise_share(schedule, t), noise_share(schedule, s)
        m = time_of_share(schedule, alpha * u_s + (1 - alpha) * u_t)
        u_m = noise_share(schedule, m)  # of the rounded m, as z_m is
        z_m = transfer(schedule, z_t, instantaneous, t, m).to(z_t.dtype)
        later = networks.student(z_m, m, conditioning, s)
        remaining = (u_m - u_s) / (u_t - u_s)
        return instantaneous + expand(remaining * u_t / u_m, z_t) * (later - instantaneous)
