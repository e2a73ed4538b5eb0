"""Flow maps that are known in closed form: data is Gaussian, so that trajectories are affine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from consistency_tta.contracts import Batch, Conditioning, Denoiser, Networks, Solver, Step, TextEmbedding
from consistency_tta.diffusion.flow_map import noise_share
from consistency_tta.diffusion.noise import expand
from consistency_tta.training.step_rng import StepRNG

MEAN, STD = 0.7, 0.6


class GaussianFlowMap(Denoiser):
    """The flow map of data N(mean, std^2) in every element; without s the denoiser.

    It can learn mean and std, and is right at MEAN and STD alone.
    """

    def __init__(self, schedule: Any, mean: float = MEAN, std: float = STD) -> None:
        super().__init__()
        self.schedule = schedule
        self.mean = nn.Parameter(torch.tensor(mean, dtype=torch.float64))
        self.log_std = nn.Parameter(torch.tensor(std, dtype=torch.float64).log())

    def marginal_std(self, t: Tensor) -> Tensor:
        return ((self.schedule.alpha(t) * self.log_std.exp()) ** 2 + self.schedule.sigma(t) ** 2).sqrt()

    def exact(self, z_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability-flow ODE carries z_t."""
        alpha_t, alpha_s = expand(self.schedule.alpha(t), z_t), expand(self.schedule.alpha(s), z_t)
        scale = expand(self.marginal_std(s) / self.marginal_std(t), z_t)
        return alpha_s * self.mean + scale * (z_t - alpha_t * self.mean)

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        centred = z_t - expand(alpha, z_t) * self.mean
        slope = alpha * self.log_std.exp() ** 2 / self.marginal_std(t) ** 2
        if s is not None:
            u_t, u_s = noise_share(self.schedule, t), noise_share(self.schedule, s)
            scale_t, scale_s = alpha + sigma, self.schedule.alpha(s) + self.schedule.sigma(s)
            kept = u_s / u_t
            apart = torch.where(kept < 1, 1 - kept, 1.0)
            average = (self.marginal_std(s) / (self.marginal_std(t) * scale_s) - kept / scale_t) / apart
            slope = torch.where(kept < 1, average, slope)
        return self.mean + expand(slope, z_t) * centred


class GuidedGaussian(Denoiser):
    """A teacher whose mean under guidance is what a student's should be: MEAN at w = 1, 0 at w = 0."""

    def __init__(self, schedule: Any) -> None:
        super().__init__()
        self.schedule = schedule
        self.conditional, self.unconditional = GaussianFlowMap(schedule), GaussianFlowMap(schedule, mean=0.0)

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        assert conditioning.guidance_scale is not None
        w, without = expand(conditioning.guidance_scale, z_t), self.unconditional(z_t, t, conditioning, s)
        return without + w * (self.conditional(z_t, t, conditioning, s) - without)


class ExactSolver(Solver):
    """Carries z_t along the exact trajectory."""

    def forward(self, denoiser: Any, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        return denoiser.exact(z_t, t, s)


def conditioning(rows: int, w: float = 1.0) -> Conditioning:
    text = TextEmbedding(torch.zeros(rows, 1, 1), torch.ones(rows, 1, dtype=torch.bool))
    return Conditioning(text, torch.full((rows,), w, dtype=torch.float64))


def step(schedule: Any, rows: int = 64, index: int = 0, training: bool = True, global_step: int = 0) -> Step:
    """A step on Gaussian data (rows, 1, 2, 2) in float64; at the top time z_t keeps its trace of z_0."""
    generator = torch.Generator().manual_seed(1000 + index)
    z_0 = MEAN + STD * torch.randn(rows, 1, 2, 2, dtype=torch.float64, generator=generator)
    rng = StepRNG(0, 0, index, torch.device("cpu"))
    add_noise: Callable[..., Tensor] = schedule.add_noise
    return Step(
        Batch([""] * rows, [""] * rows),
        z_0,
        schedule,
        rng,
        global_step,
        training,
        frozenset({"student"}),
        lambda: conditioning(rows),
        add_noise,
    )


def fit(objective: Any, networks: Networks, schedule: Any, steps: int, loss: Callable[[Any], Tensor]) -> None:
    """Train a student of two parameters."""
    student: Any = networks.student
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=steps)
    for index in range(steps):
        optimizer.zero_grad()
        loss(objective(step(schedule, index=index, global_step=index), networks)).backward()
        optimizer.step()
        decay.step()
