"""Distillation along the teacher's own trajectories: where it ends for Gaussians, what it reads, what it costs."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import Conditioning, Denoiser, Networks, Solver
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.sample import sample_diffusion
from consistency_tta.diffusion.solve import DDIM, Heun
from consistency_tta.diffusion.weighting import MinSNR
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import CombinedObjective, Distillation, TrajectoryBackward
from tests.diffusion.conftest import SCHEDULES, GaussianDenoiser
from tests.training.distillation.objectives.steps import conditioning, gaussian_step
from tests.training.runs import FAST, batch, data, in_training, query_sizes, rng, trainer

MEAN, STD = torch.tensor([0.3, -0.6], dtype=torch.float64), 0.4


class GaussianFlow(Denoiser):
    """The consistency function of a Gaussian whose mean (C,) and deviation are learnt."""

    def __init__(self, schedule: Any, mean: Tensor, std: float) -> None:
        super().__init__()
        self.schedule = schedule
        self.mean, self.std = torch.nn.Parameter(mean.clone()), torch.nn.Parameter(torch.tensor(std).double())

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """The end of the probability-flow ODE (B, C, *)."""
        alpha, sigma = expand(self.schedule.alpha(t), z_t), expand(self.schedule.sigma(t), z_t)
        mean = self.mean.view(1, -1, 1)
        return mean + self.std / (alpha**2 * self.std**2 + sigma**2).sqrt() * (z_t - alpha * mean)


class ExactSolver(Solver):
    """Solves the ODE of a Gaussian teacher without error."""

    def forward(self, denoiser: Denoiser, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """z_s (B, C, *)."""
        return cast(GaussianDenoiser, denoiser).exact(z_t, t, s, conditioning)


class DiscreteFlow(Denoiser):
    """Where the solver's own steps lead from a time of the grid: what a student of unlimited capacity learns."""

    def __init__(self, teacher: Denoiser, solver: DDIM, times: Tensor) -> None:
        super().__init__()
        self.teacher, self.solver, self.times, self.schedule = teacher, solver, times.tolist(), teacher.schedule

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """(B, C, *), row by row."""
        ends = []
        for row in range(len(t)):
            z, one = z_t[row : row + 1], conditioning.rows(torch.tensor([row]))
            left = [time for time in self.times if time <= float(t[row])]
            for start, end in pairwise(left):
                z = self.solver(self.teacher, z, torch.tensor([start]), torch.tensor([end]), one)
            ends.append(z)
        return torch.cat(ends)


def built(schedule: Any, **options: Any) -> TrajectoryBackward:
    objective = TrajectoryBackward(**options)
    objective.build(Networks(GaussianDenoiser(schedule)), schedule)
    return objective


@pytest.mark.parametrize("family", ["variance_preserving", "rectified_flow"])
@pytest.mark.parametrize("target", ["next", "end"])
def test_the_student_ends_at_the_closed_form_consistency_function(family: str, target: str) -> None:
    """Mean and deviation of the teacher's Gaussian, with the student itself as target network."""
    schedule = SCHEDULES[family]().double()
    objective = built(schedule, solver=ExactSolver(), num_steps=8, target=target, target_ema_decay=0.0)
    teacher, student = GaussianDenoiser(schedule, STD), GaussianFlow(schedule, torch.zeros(2).double(), 1.0)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    for number in range(120):
        if number == 90:
            optimizer.param_groups[0]["lr"] = 0.003
        step = gaussian_step(schedule, torch.zeros(4, 2, 3).double(), conditioning(MEAN, 4), number)
        optimizer.zero_grad()
        objective(step, Networks(student, teacher, student)).losses["consistency"].mean().backward()
        optimizer.step()
    torch.testing.assert_close(student.mean.detach(), MEAN, atol=0.01, rtol=0)
    assert float(student.std.detach().abs()) == pytest.approx(STD, abs=0.01)


@pytest.mark.parametrize("target", ["next", "end"])
def test_the_solvers_own_map_has_no_loss(target: str) -> None:
    """However coarse the solver is, both targets have the same minimiser."""
    schedule = SCHEDULES["rectified_flow"]().double()
    objective = built(schedule, num_steps=4, target=target, random_times=False)
    teacher = GaussianDenoiser(schedule, STD)
    student = DiscreteFlow(teacher, DDIM(), objective.times)
    step = gaussian_step(schedule, torch.zeros(3, 2, 3).double(), conditioning(MEAN, 3))
    loss = objective(step, Networks(student, teacher, student)).losses["consistency"]
    torch.testing.assert_close(loss, torch.zeros(3), atol=1e-6, rtol=0)  # noise is drawn in float32
    assert float(objective.metrics(step, Networks(student, teacher))["teacher_distance"]) < 1e-5
    nothing: Any = lambda z_t, t, conditioning: torch.zeros_like(z_t)  # noqa: E731
    assert float(objective.metrics(step, Networks(nothing, teacher))["teacher_distance"]) == pytest.approx(1.0)
    wrong = GaussianFlow(schedule, MEAN, 2 * STD)
    assert float(objective(step, Networks(wrong, teacher, wrong)).losses["consistency"].detach().min()) > 0.01


def test_recordings_are_not_read() -> None:
    schedule = SCHEDULES["variance_preserving"]().double()
    objective, student = built(schedule, num_steps=3), GaussianFlow(schedule, MEAN, 1.0)
    losses = []
    for value in (0.0, float("nan")):
        latents = torch.full((3, 2, 3), value, dtype=torch.float64)
        step = gaussian_step(schedule, latents, conditioning(MEAN, 3))
        losses.append(objective(step, Networks(student, GaussianDenoiser(schedule), student)).losses["consistency"])
    assert torch.equal(*losses)
    assert bool(losses[0].isfinite().all())


def test_its_trajectories_are_those_of_generation() -> None:
    schedule = SCHEDULES["variance_preserving"]().double()
    objective, teacher = built(schedule, solver=Heun(), num_steps=5, random_times=False), GaussianDenoiser(schedule)
    step = gaussian_step(schedule, torch.zeros(3, 2, 3).double(), conditioning(MEAN, 3))
    states = objective.trajectories(step, Networks(teacher, teacher), objective.draw_times(step))
    again = gaussian_step(schedule, torch.zeros(3, 2, 3).double(), conditioning(MEAN, 3))
    noise = again.rng.normal_like(again.clean_latent)
    assert torch.equal(states[-1], sample_diffusion(teacher, Heun(), objective.times, noise, again.conditioning))


@pytest.mark.parametrize("family", ["variance_preserving", "stable_audio"])
def test_random_times_lie_between_those_of_the_grid(family: str) -> None:
    schedule = SCHEDULES[family]()
    objective = built(schedule, num_steps=6)
    step = gaussian_step(schedule, torch.zeros(500, 2, 3), conditioning(MEAN, 500))
    times, grid = objective.draw_times(step), objective.times
    assert times.shape == (7, 500)
    assert bool((times[0] == 1000).all() and (times[-1] == 0).all() and (times.diff(dim=0) < 0).all())
    for i in range(1, 6):
        assert float(times[i].max()) <= float(grid[i])
        assert float(times[i].min()) >= float(grid[i + 1])
    assert float(times[5].min()) >= min(schedule.lowest_time, float(grid[5]))
    for i in range(1, 5):  # the last stays above the schedule's lowest time
        covered = float(times[i].max() - times[i].min()) / float(grid[i] - grid[i + 1])
        assert covered > 0.95


@pytest.mark.parametrize(
    ("options", "student", "target"),
    [({}, [20], [16]), ({"target": "end"}, [20], []), ({"pairs": 2}, [8], None)],
)
def test_passes(
    options: dict[str, Any], student: list[int], target: list[int] | None, teacher_folder: Path, tmp_path: Path
) -> None:
    """Of 5 steps of 4 trajectories; the guided teacher's network sees each twice, the target none at s = 0."""
    objective = TrajectoryBackward(num_steps=5, **options)
    module = in_training(Distillation(str(teacher_folder), objective, optimization=FAST), tmp_path)
    passes, queries = query_sizes(module.frozen.teacher.denoiser), query_sizes(module.student)
    targets = query_sizes(module.target.module) if module.target is not None else []
    module.loss(batch(), rng()).backward()
    assert passes == [8] * 5
    assert queries == student
    if target is None:
        assert sum(targets) <= 8
    else:
        assert targets == target
    assert all(parameter.grad is None for parameter in module.frozen.teacher.parameters())


def test_pairs_are_drawn_from_all_of_the_trajectory() -> None:
    schedule = SCHEDULES["variance_preserving"]()
    objective = built(schedule, num_steps=4, pairs=3)
    step = gaussian_step(schedule, torch.zeros(100, 2, 3), conditioning(MEAN, 100))
    index, rows = objective.draw_pairs(step)
    assert rows.tolist() == list(range(100)) * 3
    assert set(index.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("target", ["next", "end"])
def test_a_run_needs_no_loss_plugin(target: Any, teacher_folder: Path, tmp_path: Path) -> None:
    objective = TrajectoryBackward(num_steps=3, target=target)
    module = Distillation(str(teacher_folder), objective, optimization=FAST)
    start, teacher = deepcopy(module.student.state_dict()), deepcopy(module.frozen.teacher.state_dict())
    run = trainer(tmp_path, max_steps=3, limit_val_batches=1, val_check_interval=3)
    run.fit(module, data())
    assert {"train/loss/consistency", "val/loss/consistency", "val/teacher_distance"} <= run.callback_metrics.keys()
    assert any(not torch.equal(start[name], value) for name, value in module.student.state_dict().items())
    assert all(torch.equal(teacher[name], value) for name, value in module.frozen.teacher.state_dict().items())
    assert module.pipeline()(["a tone"], guidance_scale=2.0).queries == 1


@pytest.mark.parametrize("options", [{"num_steps": 1}, {"pairs": 0}, {"target": "last"}])
def test_impossible_settings_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=str(next(iter(options.values())))):
        TrajectoryBackward(**options)
    TrajectoryBackward(num_steps=2, pairs=1)


def test_its_weighting_is_not_that_of_loss_plugins() -> None:
    """Pairs are weighted by t; the latents of another objective in a combination are not."""
    schedule = SCHEDULES["variance_preserving"]().double()
    teacher, student = GaussianDenoiser(schedule, STD), GaussianFlow(schedule, MEAN, 1.0)
    losses = []
    for weighting in (None, MinSNR(1e-3)):
        objective = built(schedule, num_steps=3, weighting=weighting)
        step = gaussian_step(schedule, torch.zeros(2, 2, 3).double(), conditioning(MEAN, 2))
        losses.append(objective(step, Networks(student, teacher, student)).losses["consistency"].detach())
    assert bool((losses[1] < 2e-3 * losses[0]).all())
    combined = CombinedObjective({"trajectory": objective})
    assert combined(step, Networks(student, teacher, student)).weighting is None
