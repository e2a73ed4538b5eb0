"""sCM: its tangent vanishes for the exact consistency function, and its gradient is the paper's."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import Conditioning, Networks
from consistency_tta.losses import LatentL2Loss
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import ContinuousConsistency, Distillation, LogNormalTimes, StudentConfig
from tests.diffusion.conftest import SCHEDULES, ExactStudent
from tests.training.distillation.gaussian import (
    AffineStudent,
    GaussianStudent,
    conditioning,
    distance_to,
    gaussian_step,
    learn,
    squared_error,
    teacher,
)
from tests.training.runs import FAST, Losses, batch, data, in_training, query_sizes, rng, trainer


def distillation(folder: Path, student: StudentConfig = StudentConfig(), **options: Any) -> Distillation:  # noqa: B008
    losses = {"latent": LatentL2Loss()}
    return Distillation(str(folder), ContinuousConsistency(**options), losses, student=student, optimization=FAST)


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
def test_the_gradient_is_that_of_the_papers_algorithm(
    guided: bool, data_std: float, normalisation: float | None
) -> None:
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
    assert not found.target_latent.requires_grad
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


@pytest.mark.parametrize(
    "options",
    [{}, {"normalisation": None}, {"guided": False, "normalisation": None}, {"derivative": "central_difference"}],
)
def test_a_student_learns_the_closed_form(options: dict[str, Any]) -> None:
    guide = teacher()
    student = GaussianStudent(guide.schedule)
    assert distance_to(student, guide) > 0.4
    learn(student, ContinuousConsistency(tangent_warmup_steps=50, **options), guide)
    assert distance_to(student, guide) < 0.03


def test_the_unets_tangent_is_that_of_central_differences(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = distillation(teacher_folder)
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # else networks convert their inputs
    for part in (module.student, module.frozen.teacher):
        part.double()
    text = module.embed(batch(2))
    text.embedding = text.embedding.double()
    given = Conditioning(text, torch.tensor([1.0, 4.0]))
    step = replace(gaussian_step(teacher(), rows=2), condition=lambda: given)
    z_t, t = torch.randn(2, 4, 8, 4, dtype=torch.float64), torch.tensor([999.6, 300.4], dtype=torch.float64)
    end = module.frozen.teacher(z_t, t, given)
    exact, near = (
        ContinuousConsistency(derivative=kind, difference_step=1e-7).differentiate(
            step, module.networks(averaged=False), z_t, t, end
        )
        for kind in ("forward_mode", "central_difference")
    )
    torch.testing.assert_close(exact[0], near[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(exact[1], near[1], rtol=1e-5, atol=1e-5 * float(exact[1].abs().max()))


def test_a_tangent_of_0_stays_0() -> None:
    """By a normalisation without a constant, too; a batch may have a single row."""
    step = gaussian_step(teacher(), rows=1)
    z_0, t = step.clean_latent, torch.tensor([500.0], dtype=torch.float64)
    objective = ContinuousConsistency(tangent_warmup_steps=0, normalisation=0.0)
    assert torch.equal(objective.target(step, z_0, torch.zeros_like(z_0), t, z_0), z_0)


def test_r_grows_in_training_and_is_1_in_validation() -> None:
    objective = ContinuousConsistency(tangent_warmup_steps=10)
    steps = [gaussian_step(teacher(), index, rows=1) for index in (0, 4, 10, 50)]
    assert [objective.tangent_share(step) for step in steps] == [0.0, 0.4, 1.0, 1.0]
    assert objective.tangent_share(gaussian_step(teacher(), 0, rows=1, training=False)) == 1.0
    assert ContinuousConsistency(tangent_warmup_steps=0).tangent_share(steps[0]) == 1.0


@pytest.mark.parametrize("name", ["rectified_flow", "zero_terminal_snr", "variance_preserving"])
def test_the_top_time_is_trained_where_it_can_be(name: str) -> None:
    guide = teacher(name)
    objective = ContinuousConsistency(LogNormalTimes(terminal_fraction=1.0), tangent_warmup_steps=0)
    found = objective(gaussian_step(guide), Networks(guide, guide))
    assert (guide.schedule.ratio(found.t).clamp(max=600) > (10 if name == "variance_preserving" else 499)).all()
    assert found.target_latent.isfinite().all()
    assert ((found.student_latent - found.target_latent).flatten(1).norm(dim=1) > 0.01).all()


@pytest.mark.parametrize(("derivative", "queries"), [("forward_mode", [4]), ("central_difference", [4, 4, 4])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_student_is_queried_once(
    derivative: Any, queries: list[int], dtype: torch.dtype, teacher_folder: Path, tmp_path: Path
) -> None:
    module = in_training(distillation(teacher_folder, derivative=derivative), tmp_path)
    student, guide = query_sizes(module.student), query_sizes(module.frozen.teacher)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        module.loss(batch(4), rng()).backward()
    assert student == queries
    assert guide == [4]
    assert all(parameter.grad is not None for parameter in module.student.parameters())


def test_without_guidance_there_is_no_teacher(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder, guided=False)
    trainer(tmp_path, max_steps=2).fit(module, data())
    assert not hasattr(module.frozen, "teacher")


def test_a_run_with_validations_can_be_resumed(teacher_folder: Path, tmp_path: Path) -> None:
    options = {"tangent_warmup_steps": 4, "times": LogNormalTimes(terminal_fraction=0.3)}
    straight, resumed = Losses(), Losses()
    module = distillation(teacher_folder, **options)
    run = trainer(tmp_path, max_steps=3)
    run.fit(deepcopy(module), data())
    trainer(tmp_path, max_steps=5, callbacks=[straight]).fit(module, data())
    run.save_checkpoint(tmp_path / "it.ckpt")
    again = trainer(tmp_path, max_steps=5, callbacks=[resumed], limit_val_batches=1, val_check_interval=2)
    again.fit(distillation(teacher_folder, **options), data(), ckpt_path=str(tmp_path / "it.ckpt"), weights_only=True)
    assert resumed.values == straight.values[3:]
    assert again.callback_metrics["val/loss"] > 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_forward_mode_is_warned_of_where_times_are_discrete(name: str, caplog: pytest.LogCaptureFixture) -> None:
    guide = teacher(name)
    discrete = hasattr(guide.schedule, "table")
    for kind in ("central_difference", "forward_mode"):
        assert "central_difference" not in caplog.text
        ContinuousConsistency(derivative=kind).build(Networks(guide, guide), guide.schedule)  # type: ignore[arg-type]
    assert ("set derivative to central_difference" in caplog.text) == discrete


def test_wrong_settings_are_named(teacher_folder: Path) -> None:
    for wrong in (
        {"tangent_warmup_steps": -1},
        {"normalisation": -0.1},
        {"difference_step": 0.0},
        {"difference_step": 0.3},
        {"derivative": "forward"},
        {"data_std": 0.0},
        {"times": LogNormalTimes(), "derivative": "reverse"},
    ):
        with pytest.raises(ConfigurationError):
            ContinuousConsistency(**wrong)
    for wrong in ({"std": 0.0}, {"terminal_fraction": 1.5}):
        with pytest.raises(ConfigurationError):
            LogNormalTimes(**wrong)
    with pytest.raises(ConfigurationError, match="sample"):
        distillation(teacher_folder, StudentConfig(prediction_type="sample"))
