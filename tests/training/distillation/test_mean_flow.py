"""MeanFlow and its variants on Gaussian data, where average velocities are known, and in short trainings."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.contracts import Networks, Optimization
from consistency_tta.datamodules.synthetic import SyntheticDataModule
from consistency_tta.diffusion.flow_map import noise_share
from consistency_tta.diffusion.sampler import TrajectorySampler
from consistency_tta.diffusion.schedules import RectifiedFlowSchedule, stable_diffusion_scheduler
from consistency_tta.diffusion.schedules.from_config import schedule_from_config
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import AlphaSchedule, Distillation, MeanFlow, TimePairs
from consistency_tta.training.step_rng import StepRNG
from tests.flow_maps import MEAN, STD, GaussianFlowMap, GuidedGaussian, conditioning, fit, step
from tests.toys import STEREO_SAMPLES, stereo_parts
from tests.training.distillation.flow_map_folders import generates_in_1_2_and_4_queries
from tests.training.runs import data, rng, trainer

SCHEDULES = {
    "variance_preserving": lambda: schedule_from_config(stable_diffusion_scheduler().config),
    "rectified_flow": lambda: RectifiedFlowSchedule(1000, shift=3.0),
}
T = torch.tensor([1000.0, 731.4, 200.3, 31.7], dtype=torch.float64)
S = torch.tensor([0.0, 500.5, 0.0, 30.2], dtype=torch.float64)


@pytest.fixture(params=SCHEDULES)
def schedule(request: pytest.FixtureRequest) -> Any:
    return SCHEDULES[request.param]().double()


def networks(schedule: Any, mean: float = MEAN, std: float = STD) -> Networks:
    """A student of such parameters, and the exact teacher."""
    return Networks(GaussianFlowMap(schedule, mean, std), GaussianFlowMap(schedule))


@pytest.mark.parametrize("tangent", ["velocity", "student"])
def test_the_target_of_the_exact_flow_map_is_the_exact_average_velocity(schedule: Any, tangent: Any) -> None:
    found = networks(schedule)
    z_t, given = torch.randn(4, 1, 2, 2, dtype=torch.float64), conditioning(4)
    with torch.no_grad():
        exact: Any = found.student
        share_t, share_s = (noise_share(schedule, time).reshape(4, 1, 1, 1) for time in (T, S))
        x_t, x_s = (
            z / (schedule.alpha(time) + schedule.sigma(time)).reshape(4, 1, 1, 1)
            for z, time in ((z_t, T), (exact.exact(z_t, T, S), S))
        )
        estimate = exact(z_t, T, given, S)
        target = MeanFlow(tangent=tangent).identity(found, estimate, exact(z_t, T, given), z_t, T, S, given)
        average = (x_t - target) / share_t
    torch.testing.assert_close(average, (x_t - x_s) / (share_t - share_s), rtol=0, atol=1e-8)


def test_the_target_of_any_flow_map_satisfies_the_papers_equation(schedule: Any) -> None:
    """U_target = V - (u_t - u_s) dU/du, with dU/du by finite differences along the teacher's trajectory."""
    found = networks(schedule, mean=0.2, std=1.1)
    z_t, given = torch.randn(4, 1, 2, 2, dtype=torch.float64), conditioning(4)
    teacher, student = found.teacher, found.student
    assert isinstance(teacher, GaussianFlowMap)

    def average(z: torch.Tensor, t: torch.Tensor, estimate: torch.Tensor) -> torch.Tensor:
        scale, share = schedule.alpha(t) + schedule.sigma(t), noise_share(schedule, t)
        return (z / scale.reshape(4, 1, 1, 1) - estimate) / share.reshape(4, 1, 1, 1)

    t, h = T - 0.4, 1e-3  # away from whole times, where tables have kinks
    with torch.no_grad():
        target = MeanFlow().identity(found, student(z_t, t, given, S), teacher(z_t, t, given), z_t, t, S, given)
        ends = []
        for time in (t + h, t - h):
            moved = teacher.exact(z_t, t, time)
            ends.append((average(moved, time, student(moved, time, given, S)), noise_share(schedule, time)))
        (ahead, share_ahead), (behind, share_behind) = ends
        slope = (ahead - behind) / (share_ahead - share_behind).reshape(4, 1, 1, 1)
        duration = (noise_share(schedule, t) - noise_share(schedule, S)).reshape(4, 1, 1, 1)
        expected = average(z_t, t, teacher(z_t, t, given)) - duration * slope
    assert (expected - average(z_t, t, student(z_t, t, given, S).detach())).abs().max() > 0.1
    torch.testing.assert_close(average(z_t, t, target), expected, rtol=1e-5, atol=1e-5)


def test_the_loss_is_0_at_the_exact_flow_map_and_nowhere_else(schedule: Any) -> None:
    objective = MeanFlow(times=TimePairs(instantaneous_fraction=0.3))
    loss = objective(step(schedule, training=False), networks(schedule)).losses["mean_flow"]
    assert loss.shape == (64,)
    assert loss.max() < 1e-10
    for mean, std in [(MEAN + 0.02, STD), (MEAN - 0.02, STD), (MEAN, STD * 1.03), (MEAN, STD / 1.03)]:
        assert (
            objective(step(schedule, training=False), networks(schedule, mean, std)).losses["mean_flow"].mean() > 1e-5
        )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("variance_preserving", {}),
        ("rectified_flow", {}),
        ("variance_preserving", {"tangent": "student"}),
        ("variance_preserving", {"alpha": AlphaSchedule(120)}),
        ("variance_preserving", {"adaptive_power": 0.0}),
    ],
    ids=["table", "flow", "improved", "alpha-Flow", "plain"],
)
def test_training_finds_the_flow_map(name: str, options: dict[str, Any]) -> None:
    schedule = SCHEDULES[name]().double()
    objective = MeanFlow(times=TimePairs(instantaneous_fraction=0.5), **options)
    found = networks(schedule, mean=0.0, std=1.2)
    fit(objective, found, schedule, 150, lambda prediction: prediction.losses["mean_flow"].mean())
    student: Any = found.student
    assert student.mean.item() == pytest.approx(MEAN, abs=0.01)
    assert student.log_std.exp().item() == pytest.approx(STD, abs=0.01)


def test_velocities_of_the_data_are_right_on_average(schedule: Any) -> None:
    """Least squares on one time and one w: the student that fits them is the guided denoiser."""
    teacher, rows, w = GuidedGaussian(schedule), 200_000, 2.5
    drawn, epsilon = torch.randn(2, rows, 1, dtype=torch.float64)
    z_0, t = MEAN + STD * drawn, torch.full((rows,), 400.0, dtype=torch.float64)
    z_t = schedule.add_noise(z_0, epsilon, t)
    with torch.no_grad():
        noisy = MeanFlow("data").instantaneous(Networks(teacher, teacher), z_0, z_t, t, conditioning(rows, w))
        design = torch.cat([z_t, torch.ones_like(z_t)], dim=1)
        fitted = torch.linalg.lstsq(design, noisy).solution
        guided = teacher(z_t, t, conditioning(rows, w))
        assert (teacher(z_t, t, conditioning(rows)) - guided).abs().min() > 0.5  # guidance makes a difference
    torch.testing.assert_close(design @ fitted, guided, rtol=0, atol=0.05)


def test_alpha_flow_tends_to_mean_flow(schedule: Any) -> None:
    """Target minus estimate, divided by alpha, tends to MeanFlow's as alpha falls; alpha = 1 is the velocity."""
    found = networks(schedule, mean=0.2, std=1.1)
    z_t, given, objective = torch.randn(4, 1, 2, 2, dtype=torch.float64), conditioning(4), MeanFlow()
    with torch.no_grad():
        estimate, velocity = found.student(z_t, T, given, S), GaussianFlowMap(schedule)(z_t, T, given)
        limit = objective.identity(found, estimate, velocity, z_t, T, S, given) - estimate
        errors = []
        for alpha in (1e-2, 1e-3):
            target = objective.finite_difference(found, alpha, velocity, z_t, T, S, given)
            errors.append(float(((target - estimate) / alpha - limit).abs().max()))
        nearly_one = objective.finite_difference(found, 1 - 1e-9, velocity, z_t, T, S, given)
    assert errors[1] < 0.2 * errors[0] < 0.2
    torch.testing.assert_close(nearly_one, velocity, rtol=0, atol=1e-6)


def test_gradients_of_alpha_flow_tend_to_mean_flows(schedule: Any) -> None:
    times = TimePairs(instantaneous_fraction=0.2)
    gradients = []
    for alpha in (None, lambda _step: 1e-3):  # times are float32, too coarse for much less
        objective, found = MeanFlow(times=times), networks(schedule, mean=0.2, std=1.1)
        objective.alpha = alpha  # type: ignore[assignment]  # a constant instead of a schedule
        objective(step(schedule), found).losses["mean_flow"].mean().backward()
        student: Any = found.student
        gradients.append(torch.stack([student.mean.grad, student.log_std.grad]))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize(("alpha", "sizes"), [(1.0, [64]), (0.5, [64, 40]), (0.0, [64, 40])])
def test_what_the_student_is_queried_for(alpha: float, sizes: list[int]) -> None:
    """Once for all, and once more for those with s < t unless alpha is 1; without alpha = 0 no derivative."""
    schedule = SCHEDULES["rectified_flow"]().double()
    found, objective = networks(schedule), MeanFlow(times=TimePairs(instantaneous_fraction=0.4))
    objective.alpha = lambda _step: alpha  # type: ignore[assignment]  # a constant instead of a schedule
    queried: list[int] = []
    found.student.register_forward_hook(lambda _module, inputs, _out: queried.append(len(inputs[0])))
    targets: list[str] = []
    for method in ("identity", "finite_difference"):
        original = getattr(objective, method)
        setattr(objective, method, lambda *args, own=original, name=method: targets.append(name) or own(*args))
    given = step(schedule)
    apart = len(objective.times.draw(schedule, step(schedule).rng, 64)[2])
    objective(given, found)
    assert queried == [apart if size == 40 else size for size in sizes]
    assert targets == {1.0: [], 0.5: ["finite_difference"], 0.0: ["identity"]}[alpha]


def test_the_adaptive_weight() -> None:
    """The loss e / (e + c)^p has the gradient of e alone, divided by that."""
    schedule = SCHEDULES["rectified_flow"]().double()
    losses, found = {}, networks(schedule, std=1.1)
    parameters = list(found.student.parameters())
    for power in (0.0, 0.5, 1.0):
        objective = MeanFlow(adaptive_power=power, adaptive_constant=0.01)
        losses[power] = objective(step(schedule), found).losses["mean_flow"]
    for power in (0.5, 1.0):
        expected = losses[0.0] / (losses[0.0].detach() + 0.01) ** power
        torch.testing.assert_close(losses[power], expected)
        gradients = [torch.autograd.grad(e.sum(), parameters, retain_graph=True) for e in (losses[power], expected)]
        torch.testing.assert_close(*gradients)


def test_at_equal_times_the_loss_is_the_squared_error_of_the_velocity(schedule: Any) -> None:
    objective, found = MeanFlow(times=TimePairs(instantaneous_fraction=1.0)), networks(schedule, std=1.1)
    queries: list[Any] = []
    found.student.register_forward_pre_hook(lambda _module, args: queries.append(args))
    given = step(schedule, training=False)
    loss = objective(given, found).losses["mean_flow"]
    z_t, t, condition, _ = queries[0]
    error = found.student(z_t, t, condition) - found.teacher(z_t, t, condition)  # u_t times that of the velocity
    torch.testing.assert_close(loss, error.square().flatten(1).mean(1) / noise_share(schedule, t) ** 2)


def test_times_are_pairs(schedule: Any) -> None:
    pairs = TimePairs(instantaneous_fraction=0.5, terminal_fraction=0.25)
    t, s, apart = pairs.draw(schedule, rng(), 4000)
    assert (t >= schedule.lowest_time).all()
    assert (t <= 1000).all()
    assert ((s == 0) | (s >= schedule.lowest_time)).all()
    assert (s <= t).all()
    assert torch.equal(apart, (s < t).nonzero()[:, 0])
    # Five standard errors of 4,000 draws.
    assert float((s == t).float().mean()) == pytest.approx(0.5, abs=0.04)
    terminal = (t == 1000) & (s == 0)
    assert float(terminal.float().mean()) == pytest.approx(0.25, abs=0.035)
    # Half of the draws are below the median of the larger of two: the quantile sqrt(1/2) of the logit-normal.
    share = noise_share(schedule, t[~terminal].double()) / noise_share(schedule, torch.tensor(1000.0).double())
    median = torch.sigmoid(-0.4 + torch.special.ndtri(torch.tensor(0.5).sqrt()))
    assert float((share < median).float().mean()) == pytest.approx(0.5, abs=0.05)


def test_no_network_is_queried_for_a_sliver_of_noise(schedule: Any) -> None:
    t, s, apart = TimePairs(mean=-40.0, instantaneous_fraction=0.5).draw(schedule, rng(), 100)
    assert set(t.tolist()) == {schedule.lowest_time}
    assert 0 < len(apart) < 100
    assert set(s[apart].tolist()) == {0.0}


class Zeros(StepRNG):
    """All uniform numbers are 0, whose normal number is -inf."""

    def uniform(self, batch_size: int) -> torch.Tensor:
        return torch.zeros(batch_size)


def test_the_least_uniform_number_gives_the_lowest_time(schedule: Any) -> None:
    zeros = Zeros(0, 0, 0, torch.device("cpu"))
    t, s, _ = TimePairs(instantaneous_fraction=0.0).draw(schedule, zeros, 1)
    assert (t.tolist(), s.tolist()) == ([schedule.lowest_time], [0.0])


def test_alpha_falls_from_1_to_0() -> None:
    alpha = AlphaSchedule(300, begin=100)
    values = [alpha(number) for number in range(400)]
    assert values[:101] == [1.0] * 101
    assert values[300:] == [0.0] * 100
    assert values[200] == pytest.approx(0.5)
    assert all(one >= other for one, other in pairwise(values))
    assert all(value in (0.0, 1.0) or 0.005 <= value <= 0.995 for value in values)
    assert 0 < values[215] < 0.5
    gentle = AlphaSchedule(300, begin=100, sharpness=0.5, clamp=0.0)
    assert gentle(299) > 0.4
    assert gentle(300) == 0.0


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda: MeanFlow(velocity="noise"), "noise"),  # type: ignore[arg-type]
        (lambda: MeanFlow(tangent="data"), "data"),  # type: ignore[arg-type]
        (lambda: MeanFlow(adaptive_power=-1.0), "-1"),
        (lambda: MeanFlow(adaptive_constant=0.0), "0.0"),
        (lambda: TimePairs(instantaneous_fraction=0.8, terminal_fraction=0.3), "0.8"),
        (lambda: TimePairs(std=0.0), "0"),
        (lambda: AlphaSchedule(100, begin=100), "100"),
        (lambda: AlphaSchedule(100, clamp=0.5), "0.5"),
        (lambda: AlphaSchedule(100, sharpness=0.0), "0.0"),
    ],
)
def test_options_out_of_range_are_refused(wrong: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        wrong()


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        ({}, "32-true"),
        ({"velocity": "data", "tangent": "student"}, "bf16-mixed"),
        ({"alpha": AlphaSchedule(2)}, "32-true"),  # alpha is 1, 0.5, 0 and 0
    ],
    ids=["MeanFlow", "improved", "alpha-Flow"],
)
def test_a_short_training_leaves_a_folder_that_generates(
    options: dict[str, Any], precision: Any, teacher_folder: Path, tmp_path: Path
) -> None:
    objective = MeanFlow(times=TimePairs(instantaneous_fraction=0.5, terminal_fraction=0.25), **options)
    module = Distillation(str(teacher_folder), objective, optimization=Optimization(1e-3))
    run = trainer(tmp_path, max_steps=4, limit_val_batches=1, val_check_interval=2, precision=precision)
    run.fit(module, data())
    assert float(run.callback_metrics["train/loss/mean_flow"]) > 0
    assert float(run.callback_metrics["val/loss/mean_flow"]) > 0
    generates_in_1_2_and_4_queries(module, tmp_path)


class OwnSampler(MeanFlow):
    """Says how its student is sampled."""

    def sampler(self) -> TrajectorySampler:
        return TrajectorySampler(2, gamma=0.5)


def test_an_objective_may_give_its_students_folder_a_sampler(teacher_folder: Path, tmp_path: Path) -> None:
    Distillation(str(teacher_folder), OwnSampler()).pipeline().save_pretrained(tmp_path)
    sampler = TextToAudioPipeline.from_pretrained(tmp_path).sampler
    assert isinstance(sampler, TrajectorySampler)
    assert (sampler.default_steps, sampler.gamma) == (2, 0.5)


def test_a_flow_matching_transformer_learns_it(tmp_path: Path) -> None:
    TextToAudioPipeline(**stereo_parts()).save_pretrained(tmp_path / "teacher")
    objective = MeanFlow(times=TimePairs(instantaneous_fraction=0.25))
    module = Distillation(str(tmp_path / "teacher"), objective)
    sounds = SyntheticDataModule(
        sample_rate=44100, num_clips=8, num_val_clips=4, num_samples=STEREO_SAMPLES, batch_size=4, channels=2
    )
    run = trainer(tmp_path, max_steps=2)
    run.fit(module, sounds)
    assert float(run.callback_metrics["train/loss/mean_flow"]) > 0
