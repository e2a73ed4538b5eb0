"""Trajectory consistency on Gaussian data, where the flow map is known, and in short trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import Networks, Optimization, Prediction
from consistency_tta.diffusion.flow_map import jump
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.solve import DDIM, Heun
from consistency_tta.diffusion.weighting import MinSNR, Uniform
from consistency_tta.losses import LatentL2Loss, MelL2Loss
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import DiscretizationSchedule, Distillation, TrajectoryConsistency
from tests.flow_maps import MEAN, STD, ExactSolver, GaussianFlowMap, conditioning, fit, step
from tests.training.distillation.flow_map_folders import generates_in_1_2_and_4_queries
from tests.training.distillation.test_mean_flow import SCHEDULES
from tests.training.runs import data, trainer

COMPARISONS = ["estimate", "trajectory", "end"]


@pytest.fixture(params=SCHEDULES)
def schedule(request: pytest.FixtureRequest) -> Any:
    return SCHEDULES[request.param]().double()


def networks(schedule: Any, mean: float = MEAN, std: float = STD) -> Networks:
    """A student of such parameters; the exact teacher; the target is the student without gradients."""
    student = GaussianFlowMap(schedule, mean, std)
    return Networks(student, GaussianFlowMap(schedule), Follower(student))


class Follower(GaussianFlowMap):
    """Always equal to another flow map, without gradients of its parameters."""

    def __init__(self, source: GaussianFlowMap) -> None:
        super().__init__(source.schedule)
        self.requires_grad_(False)
        self.__dict__["source"] = source

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        source = self.__dict__["source"]
        self.mean.copy_(source.mean.detach())
        self.log_std.copy_(source.log_std.detach())
        return super().forward(*args, **kwargs)


def objective(schedule: Any, **options: Any) -> TrajectoryConsistency:
    built = TrajectoryConsistency(**({"solver": ExactSolver(), "num_discretization_steps": 8} | options))
    built.build(networks(schedule), schedule)
    return built


def squared(prediction: Prediction) -> Tensor:
    assert prediction.student_latent is not None
    assert prediction.target_latent is not None
    assert not prediction.target_latent.requires_grad
    return (prediction.student_latent - prediction.target_latent).square().mean()


@pytest.mark.parametrize("compare", COMPARISONS)
def test_the_loss_is_0_at_the_exact_flow_map_and_nowhere_else(schedule: Any, compare: str) -> None:
    distillation = objective(schedule, compare=compare, solver_steps=3)
    assert squared(distillation(step(schedule), networks(schedule))) < 1e-12
    for mean, std in [(MEAN + 0.02, STD), (MEAN - 0.02, STD), (MEAN, STD * 1.03), (MEAN, STD / 1.03)]:
        assert squared(distillation(step(schedule), networks(schedule, mean, std))) > 1e-9


@pytest.mark.parametrize("compare", COMPARISONS)
def test_training_finds_the_flow_map(compare: str) -> None:
    """The target network is the student itself, so that errors at s = 0 have to travel up from the lowest time."""
    schedule = SCHEDULES["variance_preserving"]().double()
    found = networks(schedule, mean=0.0, std=1.2)
    fit(objective(schedule, compare=compare, solver_steps=4), found, schedule, 200, squared)
    student: Any = found.student
    assert student.mean.item() == pytest.approx(MEAN, abs=0.01)
    assert student.log_std.exp().item() == pytest.approx(STD, abs=0.01)
    z_t, t = torch.randn(4, 1, 2, 2, dtype=torch.float64), torch.full((4,), 1000.0, dtype=torch.float64)
    with torch.no_grad():  # two jumps are one
        middle = jump(student, z_t, t, t / 2, conditioning(4))
        twice = jump(student, middle, t / 2, 0 * t, conditioning(4))
        torch.testing.assert_close(twice, jump(student, z_t, t, 0 * t, conditioning(4)), rtol=0, atol=1e-9)


def test_the_target_is_the_solvers_step_and_the_targets_jump(schedule: Any) -> None:
    """Every pair of times, against the definition for one example at a time."""
    distillation, found = objective(schedule, solver=Heun(), solver_steps=2), networks(schedule, mean=0.3, std=0.9)
    given = step(schedule, rows=40)
    times, *indices = distillation.draw_times(given)
    z_t, given = given.clean_latent, step(schedule, rows=40)
    assert found.target is not None
    assert found.teacher is not None
    with torch.no_grad():
        whole = distillation.target_latent(given, found, z_t, times, tuple(indices))
        for row, (t, u, s) in enumerate(zip(*(index.tolist() for index in indices), strict=True)):
            assert t < u <= s
            latent = z_t[row : row + 1]
            for taken in range(t, u):
                latent = Heun()(found.teacher, latent, times[taken, None], times[taken + 1, None], conditioning(1))
            if u < s:
                latent = jump(found.target, latent, times[u, None], times[s, None], conditioning(1))
            torch.testing.assert_close(whole[row : row + 1], latent, rtol=0, atol=1e-9)


def test_all_pairs_of_times_are_drawn() -> None:
    schedule = SCHEDULES["rectified_flow"]().double()
    distillation = objective(schedule, num_discretization_steps=4, solver_steps=2)
    _, t, u, s = distillation.draw_times(step(schedule, rows=2000))
    found = {tuple(row) for row in torch.stack([t, u, s], dim=1).tolist()}
    expected = {(t, u, s) for t in range(4) for s in range(t + 1, 5) for u in range(t + 1, min(t + 2, s) + 1)}
    assert found == expected


def test_a_share_of_the_examples_are_whole_trajectories_in_training_alone() -> None:
    schedule = SCHEDULES["rectified_flow"]().double()
    distillation = objective(schedule, num_discretization_steps=10, terminal_fraction=0.5)

    def whole(training: bool) -> float:
        _, t, _, s = distillation.draw_times(step(schedule, rows=4000, training=training))
        return float(((t == 0) & (s == 10)).float().mean())

    # Of the others 1 in 10 starts at the top, and 1 in 10 of these goes to the end. Five standard errors.
    assert whole(training=True) == pytest.approx(0.5 + 0.5 * 0.01, abs=0.04)
    assert whole(training=False) == pytest.approx(0.01, abs=0.008)


def test_validation_uses_the_last_discretization() -> None:
    schedule = SCHEDULES["rectified_flow"]().double()
    distillation = objective(schedule, num_discretization_steps=DiscretizationSchedule(2, 16, every=3))
    assert len(distillation.draw_times(step(schedule, training=True))[0]) == 3
    assert len(distillation.draw_times(step(schedule, training=False))[0]) == 17


def test_the_comparison_at_the_end_sends_gradients_through_the_targets_jump() -> None:
    """They are those of the loss at s, times the square of the jump's slope from s to 0."""
    schedule = SCHEDULES["rectified_flow"]().double()
    gradients = {}
    for compare in ("trajectory", "end"):
        found = networks(schedule, mean=0.3)
        latents = objective(schedule, compare=compare)(step(schedule, rows=40), found)
        assert latents.student_latent is not None
        assert latents.target_latent is not None
        error = (latents.student_latent - latents.target_latent).square().flatten(1).sum(1)
        student: Any = found.student
        each = [torch.autograd.grad(one, student.mean, retain_graph=True)[0] for one in error]
        gradients[compare], s = torch.stack(each), latents.s
    slope = student.marginal_std(torch.zeros_like(s)) / student.marginal_std(s)
    torch.testing.assert_close(gradients["end"], (gradients["trajectory"] * slope**2).detach())
    assert (slope < 0.95).any()


def test_settings_reach_what_reads_them(schedule: Any) -> None:
    """A target's decay and a weighting are read by ``Distillation``; devices have no float64 times."""
    weighting = MinSNR()
    given, default = TrajectoryConsistency(target_ema_decay=0.5, weighting=weighting), objective(schedule)
    assert (given.target_ema_decay, given.weighting) == (0.5, weighting)
    assert default.target_ema_decay == 0.95
    assert isinstance(default.weighting, Uniform)
    assert {times.dtype for times in default.times.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("options", "named"),
    [({"compare": "middle"}, "middle"), ({"solver_steps": 0}, "0"), ({"terminal_fraction": 1.5}, "1.5")],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        TrajectoryConsistency(**options)


@pytest.mark.parametrize("compare", COMPARISONS)
def test_a_short_training_leaves_a_folder_that_generates(compare: Any, teacher_folder: Path, tmp_path: Path) -> None:
    method = TrajectoryConsistency(
        DDIM(), UniformGrid(), DiscretizationSchedule(4, 8, 2), solver_steps=2, terminal_fraction=0.3, compare=compare
    )
    losses = {"latent": LatentL2Loss(), "mel": MelL2Loss()}
    module = Distillation(str(teacher_folder), method, losses, optimization=Optimization(1e-3))
    run = trainer(tmp_path, max_steps=4, limit_val_batches=1, val_check_interval=2)
    run.fit(module, data())
    assert float(run.callback_metrics["train/loss/latent"]) > 0
    assert float(run.callback_metrics["val/loss/latent"]) > 0
    generates_in_1_2_and_4_queries(module, tmp_path)
