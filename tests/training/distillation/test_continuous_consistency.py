"""sCM: its tangent vanishes for the exact consistency function, and its gradient is the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import Networks, Prediction
from consistency_tta.diffusion.noise import expand
from consistency_tta.losses import LatentL2Loss
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import ContinuousConsistency, Distillation, LogNormalTimes, StudentConfig
from tests.diffusion.conftest import SCHEDULES, ExactStudent
from tests.training.distillation.gaussian import AffineStudent, conditioning, gaussian_step, schedule, teacher
from tests.training.runs import FAST, Losses, batch, data, in_training, query_sizes, rng, trainer


def distillation(folder: Path, student: StudentConfig = StudentConfig(), **options: Any) -> Distillation:  # noqa: B008
    losses = {"latent": LatentL2Loss()}
    return Distillation(str(folder), ContinuousConsistency(**options), losses, student=student, optimization=FAST)


def squared_error(objective: ContinuousConsistency, found: Prediction, schedule: Any) -> Tensor:
    """What ``Distillation`` makes of a prediction with ``LatentL2Loss``."""
    assert found.student_latent is not None
    error = (found.student_latent - found.target_latent).square().flatten(1).mean(1)
    return (objective.weighting(found.t, schedule) * error).mean()


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_exact_consistency_function_has_no_tangent(name: str) -> None:
    guide = teacher(name)
    objective = ContinuousConsistency(tangent_warmup_steps=0, normalisation=None)
    step = gaussian_step(guide)
    found = objective(step, Networks(ExactStudent(guide), guide))
    assert (found.student_latent - found.target_latent).abs().max() < 1e-10
    assert objective(step, Networks(guide, guide)).student_latent.isfinite().all()
    other = objective(gaussian_step(guide), Networks(guide, guide))  # a denoiser is no consistency function
    assert (other.student_latent - other.target_latent).abs().max() > 0.01


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize(("data_std", "normalisation"), [(1.0, 0.1), (0.5, 0.1), (0.5, None)])
def test_the_gradient_is_that_of_the_papers_algorithm(guided: bool, data_std: float, normalisation: float | None) -> None:
    """Algorithm 1 of Lu and Song, in TrigFlow's own variables, with derivatives of F by reverse mode."""
    guide = teacher()
    student = AffineStudent(guide.schedule)
    generator = torch.Generator().manual_seed(1)
    for parameter in student.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    objective = ContinuousConsistency(
        guided=guided, tangent_warmup_steps=100, normalisation=normalisation, data_std=data_std
    )
    step = gaussian_step(guide, index=40)
    found = objective(step, Networks(student, guide))
    loss = squared_error(objective, found, guide.schedule)
    gradients = torch.autograd.grad(loss, list(student.parameters()))

    again = gaussian_step(guide, index=40)
    ratio = guide.schedule.ratio(objective.times(again))
    epsilon = again.rng.normal_like(again.clean_latent)
    tau = torch.atan(ratio / data_std)[:, None, None].requires_grad_(True)
    x = (tau.cos() * again.clean_latent + tau.sin() * data_std * epsilon).detach().requires_grad_(True)

    def network(x: Tensor, tau: Tensor) -> Tensor:
        """F of the student's f: its own input has alpha^2 + sigma^2 = 1."""
        angle = torch.atan(data_std * tau.tan())
        z = x * (tau.cos() ** 2 + data_std**2 * tau.sin() ** 2).rsqrt()
        f = angle.cos() * z - angle.sin() * student.network(z, angle[:, 0, 0])
        return (tau.cos() * x - f) / (data_std * tau.sin())

    with torch.no_grad():
        end = again.clean_latent
        if guided:
            z = x * (tau.cos() ** 2 + data_std**2 * tau.sin() ** 2).rsqrt()
            end = guide(z, guide.schedule.time(ratio), conditioning(len(x)))
        dx = (tau.cos() * x - end) / tau.sin()
    _, change = torch.autograd.functional.jvp(network, (x, tau), (dx, torch.ones_like(tau)))  # twice reverse mode
    with torch.no_grad():
        value, r = network(x, tau), 0.4
        g = -(tau.cos() ** 2) * (data_std * value - dx) - r * tau.cos() * tau.sin() * (x + data_std * change)
        g = g / data_std
        if normalisation is not None:
            g = 8**0.5 * g / (g.flatten(1).norm(dim=1)[:, None, None] + normalisation)
    expected = (network(x.detach(), tau.detach()) - value - g).square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    reference = torch.autograd.grad(expected, list(student.parameters()))
    torch.testing.assert_close(gradients, reference, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("normalisation", [0.1, None])
def test_an_affine_student_learns_the_closed_form(normalisation: float | None) -> None:
    guide = teacher()
    student = AffineStudent(guide.schedule)
    objective = ContinuousConsistency(
        LogNormalTimes(-0.5, 1.5, terminal_fraction=0.2), tangent_warmup_steps=50, normalisation=normalisation
    )
    steps = 400
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for index in range(steps):
        optimizer.zero_grad()
        step = gaussian_step(guide, index, rows=64)
        squared_error(objective, objective(step, Networks(student, guide)), guide.schedule).backward()
        optimizer.step()
        decay.step()
    step = gaussian_step(guide, 1, rows=5, training=False)
    t = torch.tensor([1000.0, 800.0, 500.0, 200.0, 50.0], dtype=torch.float64)
    z_t = step.add_noise(step.clean_latent, step.rng.normal_like(step.clean_latent), t)
    exact = ExactStudent(guide)(z_t, t, step.conditioning)
    assert (guide(z_t, t, step.conditioning) - exact).abs().max() > 0.2  # from where r = 0 leads to
    torch.testing.assert_close(student(z_t, t, step.conditioning), exact, atol=0.03, rtol=0)


def test_the_unets_tangent_is_that_of_central_differences(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = distillation(teacher_folder)
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # else networks convert their inputs
    for part in (module.student, module.frozen.teacher):
        part.double()
    step = gaussian_step(teacher(), rows=2)
    text = module.embed(batch(2))
    text.embedding = text.embedding.double()
    given = conditioning(2)
    given.text = text
    z_t, t = torch.randn(2, 4, 8, 4, dtype=torch.float64), torch.tensor([999.6, 300.4], dtype=torch.float64)
    step._shared = {"conditioning": given} if hasattr(step, "_shared") else None
    step.__dict__["conditioning"] = given
    end = module.frozen.teacher(z_t, t, given)
    exact, near = (
        ContinuousConsistency(derivative=kind, difference_step=1e-7).differentiate(
            step, module.networks(averaged=False), z_t, t, end
        )
        for kind in ("forward_mode", "central_difference")
    )
    torch.testing.assert_close(exact[0], near[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(exact[1], near[1], rtol=1e-5, atol=1e-5 * float(exact[1].abs().max()))
