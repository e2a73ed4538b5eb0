"""Consistency distillation as a whole, on a Gaussian teacher: its minimiser is the probability-flow ODE's exact map."""

from itertools import pairwise

import pytest
import torch

from consistency_tta.diffusion.grid import KarrasGrid, UniformGrid
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.solve import DDIM, DPMSolver2S, Heun


def consistency_loss(student, teacher, z_t, t, s, conditioning):
    z_s = teacher.exact(z_t, t, s, conditioning)
    return (student(z_t, t, conditioning) - student(z_s, s, conditioning)).square().mean()


def test_the_exact_map_has_no_consistency_loss_and_any_other_has(teacher, student, noise, conditioning):
    def wrong(scale, shift):
        # Right at t = 0, where the boundary condition ties it.
        def forward(z_t, t, conditioning):
            amount = expand(teacher.schedule.sigma(t), z_t)
            return (1 + scale * amount) * student(z_t, t, conditioning) + shift * amount

        return forward

    t, s = torch.tensor([1000.0, 500.0, 20.0]), torch.tensor([900.0, 300.0, 0.0])
    arguments = (teacher, noise, t, s, conditioning)
    assert consistency_loss(student, *arguments) < 1e-12
    for scale, shift in [(0.01, 0.0), (-0.01, 0.0), (0.0, 0.01), (0.0, -0.01)]:
        assert consistency_loss(wrong(scale, shift), *arguments) > 1e-8


@pytest.mark.parametrize(
    ("solver", "grid", "num_steps", "tolerance"),
    [
        (Heun(), KarrasGrid(), 18, 0.02),
        (Heun(), KarrasGrid(), 100, 1e-3),
        (DPMSolver2S(), KarrasGrid(), 100, 1e-3),
        (DDIM(), UniformGrid(), 1000, 1e-2),
    ],
    ids=["heun-18", "heun-100", "dpm-100", "ddim-1000"],
)
def test_distillation_learns_the_exact_map(teacher, conditioning, solver, grid, num_steps, tolerance):
    """Fit f(z_t, t_n) = a_n z_t + b_n to the solver's targets f(z_s, t_(n+1)) by least squares, from low noise up."""
    conditioning = conditioning.rows(torch.tensor([0]))
    generator = torch.Generator().manual_seed(0)
    mean = conditioning.text.embedding[0, 0]
    z_0 = mean.reshape(1, 2, 1, 1) + teacher.std * torch.randn(1, 2, 8, 8, dtype=torch.float64, generator=generator)
    slope, intercept = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for s, t in pairwise(grid(teacher.schedule, num_steps).flip(0).unsqueeze(1)):
        epsilon = torch.randn(z_0.shape, dtype=torch.float64, generator=generator)
        z_t = teacher.schedule.add_noise(z_0, epsilon, t)
        z_s = solver(teacher, z_t, t, s, conditioning)
        target = (slope.reshape(1, 2, 1, 1) * z_s + intercept.reshape(1, 2, 1, 1)).reshape(2, -1, 1)
        inputs = torch.stack([z_t.reshape(2, -1), torch.ones(2, 64, dtype=torch.float64)], dim=2)
        slope, intercept = torch.linalg.lstsq(inputs, target).solution.squeeze(2).unbind(1)
    probe = torch.tensor([0.0, 1.0], dtype=torch.float64).reshape(2, 1, 1, 1).expand(2, 2, 1, 1)
    both = conditioning.rows(torch.tensor([0, 0]))
    exact = teacher.exact(probe, t.expand(2), torch.zeros(2), both)[:, :, 0, 0]
    torch.testing.assert_close(intercept, exact[0], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(slope, exact[1] - exact[0], rtol=tolerance, atol=tolerance)
