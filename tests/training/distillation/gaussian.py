"""Steps of training on Gaussian data, in float64, without a module around them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from consistency_tta.contracts import (
    Batch,
    Conditioning,
    Denoiser,
    Networks,
    Objective,
    Prediction,
    Schedule,
    Step,
    TextEmbedding,
)
from consistency_tta.diffusion.noise import add_noise, expand
from consistency_tta.training.step_rng import StepRNG
from tests.diffusion.conftest import SCHEDULES, ExactStudent, GaussianDenoiser

MEAN = (0.5, -1.0)


class DoubleRNG(StepRNG):
    """The same draws in float64; of a time given to it, functions of the schedule are then float64, too."""

    def normal_like(self, example: Tensor) -> Tensor:
        return super().normal_like(example).double()

    def uniform(self, batch_size: int) -> Tensor:
        return super().uniform(batch_size).double()


class GaussianStudent(Denoiser):
    """The consistency functions of all Gaussians N(mean, std^2): affine in z, f(z, 0) = z."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.mean = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.log_std = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        alpha, sigma = expand(self.schedule.alpha(t), z_t), expand(self.schedule.sigma(t), z_t)
        mean, std = self.mean[:, None], self.log_std.exp()
        return mean + std * (z_t - alpha * mean) / (alpha**2 * std**2 + sigma**2).sqrt()


class AffineStudent(Denoiser):
    """f = alpha z - sigma F for a variance-preserving schedule; F is affine in z, with polynomials of the angle."""

    def __init__(self, schedule: Schedule, degree: int = 3) -> None:
        super().__init__()
        self.schedule = schedule
        self.slope = nn.Parameter(torch.zeros(degree + 1, dtype=torch.float64))
        self.intercept = nn.Parameter(torch.zeros(degree + 1, 2, dtype=torch.float64))

    def network(self, z: Tensor, angle: Tensor) -> Tensor:
        """F (B, 2, *)."""
        x = 4 / torch.pi * angle - 1  # Chebyshev's interval
        powers = torch.stack([torch.cos(k * x.clamp(-1, 1).acos()) for k in range(len(self.slope))], dim=1)
        return expand(powers @ self.slope, z) * z + expand(powers @ self.intercept, z)

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        alpha, sigma = expand(self.schedule.alpha(t), z_t), expand(self.schedule.sigma(t), z_t)
        return alpha * z_t - sigma * self.network(z_t, torch.atan(self.schedule.ratio(t)))


def schedule(name: str = "variance_preserving") -> Any:
    return SCHEDULES[name]().double()


def teacher(name: str = "variance_preserving") -> GaussianDenoiser:
    return GaussianDenoiser(schedule(name))


def conditioning(rows: int) -> Conditioning:
    embedding = torch.tensor(MEAN, dtype=torch.float64).expand(rows, 1, 2)
    return Conditioning(TextEmbedding(embedding, torch.ones(rows, 1, dtype=torch.bool)), torch.ones(rows))


def gaussian_step(denoiser: GaussianDenoiser, index: int = 0, rows: int = 16, training: bool = True) -> Step:
    """The step ``index`` of a training on samples (rows, 2, 4) of the data that ``denoiser`` is exact for."""
    rng = DoubleRNG(0, 0, index, torch.device("cpu"))
    mean = torch.tensor(MEAN, dtype=torch.float64).reshape(1, 2, 1)
    z_0 = mean + denoiser.std * rng.normal_like(torch.empty(rows, 2, 4))
    return Step(
        batch=Batch(["a tone"] * rows, [""] * rows),
        clean_latent=z_0,
        schedule=denoiser.schedule,
        rng=rng,
        global_step=index,
        training=training,
        active=frozenset({"student"}),
        condition=lambda: conditioning(rows),
        add_noise=lambda z_0, epsilon, t: add_noise(denoiser.schedule, z_0, epsilon, t),
    )


def squared_error(objective: Objective, found: Prediction, schedule: Schedule) -> Tensor:
    """What ``Distillation`` makes of a prediction with ``LatentL2Loss``."""
    assert found.student_latent is not None
    assert found.target_latent is not None
    assert found.t is not None
    assert objective.weighting is not None
    error = (found.student_latent - found.target_latent).square().flatten(1).mean(1)
    return (objective.weighting(found.t, schedule) * error).mean()


def learn(student: GaussianStudent, objective: Objective, guide: GaussianDenoiser, steps: int = 150) -> None:
    """Train a student on the Gaussian."""
    networks = Networks(student, guide, student)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for index in range(steps):
        optimizer.zero_grad()
        found = objective(gaussian_step(guide, index, rows=64), networks)
        squared_error(objective, found, guide.schedule).backward()
        optimizer.step()
        decay.step()


@torch.no_grad()
def distance_to(student: Denoiser, guide: GaussianDenoiser) -> float:
    """Largest distance to the exact consistency function, at samples of five noise levels."""
    step = gaussian_step(guide, 1, rows=5, training=False)
    t = torch.tensor([1000.0, 800.0, 500.0, 200.0, 50.0], dtype=torch.float64)
    z_t = step.add_noise(step.clean_latent, step.rng.normal_like(step.clean_latent), t)
    exact = ExactStudent(guide)(z_t, t, step.conditioning)
    return float((student(z_t, t, step.conditioning) - exact).abs().max())
