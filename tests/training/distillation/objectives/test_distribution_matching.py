"""Distribution matching: its gradient is the difference of two scores, known for Gaussians."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import Networks, Optimization
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.schedules import NoiseSchedule
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import Distillation, DistributionMatching, Ramp
from tests.diffusion.conftest import SCHEDULES, GaussianDenoiser
from tests.training.distillation.objectives.steps import AffineStudent, conditioning, gaussian_step
from tests.training.runs import FAST, data, trainer

MEAN = torch.tensor([0.5, -1.0], dtype=torch.float64)
RAMP = Ramp(0.25, 0.75, steps=2, begin=10)


class TrackedGaussian(GaussianDenoiser):
    """The exact fake score of an :class:`AffineStudent`."""

    def __init__(self, student: AffineStudent) -> None:
        super().__init__(student.schedule)
        self.student = [student]  # not a submodule
        self.factor = 1.0

    def forward(self, z_t: Tensor, t: Tensor, conditioning: object) -> Tensor:
        """E[z_0 | z_t] where z_0 is what the student makes of noise."""
        student = self.student[0]
        top = torch.full_like(t, float(self.schedule.num_train_timesteps))
        variance = (student.scale.detach() * self.schedule.sigma(top[:1])).square()[None, :, None, None]
        mean = student.shift.detach()[None, :, None, None]
        alpha, sigma = expand(self.schedule.alpha(t), z_t), expand(self.schedule.sigma(t), z_t)
        return self.factor * (mean + alpha * variance / (alpha**2 * variance + sigma**2) * (z_t - alpha * mean))


def exact_objective(schedule: NoiseSchedule, std: float) -> tuple[DistributionMatching, AffineStudent, Networks]:
    student = AffineStudent(schedule, torch.zeros(2).double(), torch.ones(2).double())
    objective = DistributionMatching()
    objective.fake = TrackedGaussian(student)
    return objective, student, Networks(student, GaussianDenoiser(schedule, std))


@pytest.mark.parametrize("family", ["variance_preserving", "rectified_flow"])
def test_the_gradient_is_the_difference_of_the_scores(family: str) -> None:
    schedule = SCHEDULES[family]().double()
    objective, _, networks = exact_objective(schedule, std=0.3)
    z_0 = torch.zeros(6, 2, 3, 2).double()
    step, noised = gaussian_step(schedule, z_0, conditioning(MEAN, 6)), []
    add_noise = step.add_noise
    step.add_noise = lambda *arguments: noised.append((add_noise(*arguments), arguments[2])) or noised[-1][0]
    sample = torch.randn(6, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    objective.distribution_loss(step, networks, sample).sum().backward()
    [(z_t, t)] = noised
    alpha, sigma = expand(schedule.alpha(t), z_t), expand(schedule.sigma(t), z_t)
    mean = MEAN[None, :, None, None]

    def score(mean: Tensor, variance: Tensor | float) -> Tensor:
        """Of the noised Gaussian, by differentiating its log-density."""
        point = z_t.detach().requires_grad_()
        density = -((point - alpha * mean) ** 2) / (2 * (alpha**2 * variance + sigma**2))
        return torch.autograd.grad(density.sum(), point)[0]

    prior = schedule.sigma(torch.tensor([1000.0], dtype=torch.float64)) ** 2
    fake, real = score(torch.zeros_like(mean), prior), score(mean, 0.3**2)
    denoised = networks.teacher(z_t, t, step.conditioning)
    scale = (sample - denoised).abs().flatten(1).mean(1)
    expected = (fake - real) * sigma**2 / alpha / expand(scale, z_t) / sample[0].numel()
    torch.testing.assert_close(sample.grad, expected.detach(), rtol=1e-5, atol=1e-6)  # t is float32


def test_the_student_reaches_the_teachers_gaussian(any_family: str) -> None:
    """Mean and standard deviation, with the exact fake score; a regression on means would make the latter 0."""
    schedule = SCHEDULES[any_family]().double()
    objective, student, networks = exact_objective(schedule, std=0.4)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.03)
    for number in range(400):
        if number == 300:
            optimizer.param_groups[0]["lr"] = 0.003
        step = gaussian_step(schedule, torch.zeros(64, 2, 2, 2).double(), conditioning(MEAN, 64), number)
        loss = objective.distribution_loss(step, networks, step.generate(networks).latent).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    top = schedule.sigma(torch.tensor(1000.0).double())
    torch.testing.assert_close(student.shift.detach(), MEAN, atol=0.03, rtol=0)
    torch.testing.assert_close(student.scale.detach().abs() * top, torch.full((2,), 0.4).double(), atol=0.03, rtol=0)


@pytest.fixture(params=["variance_preserving", "zero_terminal_snr", "rectified_flow"])
def any_family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_fake_score_learns_the_students_samples() -> None:
    """Its loss is least at the exact denoiser of what the student makes."""
    schedule = SCHEDULES["variance_preserving"]().double()
    objective, _, networks = exact_objective(schedule, std=0.4)
    losses = []
    for factor in (0.95, 1.0, 1.05):
        objective.fake.factor = factor
        total = 0.0
        for number in range(20):
            step = gaussian_step(schedule, torch.zeros(128, 2, 4, 4).double(), conditioning(MEAN, 128), number)
            total += float(objective.fake_loss(step, step.generate(networks).latent.detach()).mean())
        losses.append(total)
    assert losses[1] < min(losses[0], losses[2])


def test_each_loss_has_a_gradient_for_its_own_network_alone() -> None:
    schedule = SCHEDULES["rectified_flow"]().double()
    objective, student, networks = exact_objective(schedule, std=0.4)
    objective.fake.factor = torch.nn.Parameter(torch.tensor(0.9).double())
    step = gaussian_step(schedule, torch.zeros(4, 2, 3, 1).double(), conditioning(MEAN, 4))
    step.active = frozenset({"student", "fake"})
    for loss, own, other in (
        ("fake", objective.fake.factor, student.shift),
        ("distribution", student.shift, objective.fake.factor),
    ):
        objective(step, networks).losses[loss].sum().backward(retain_graph=True)
        assert own.grad.abs().sum() > 0
        assert other.grad is None
        own.grad = None


def test_samples_that_are_the_teachers_have_no_gradient() -> None:
    """The difference of the scores is 0, and so is what it is divided by."""
    schedule = SCHEDULES["rectified_flow"]().double()
    sample = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    objective = DistributionMatching()
    objective.fake = real = lambda z_t, t, conditioning: sample.detach()  # type: ignore[assignment]
    step = gaussian_step(schedule, sample.detach(), conditioning(MEAN, 3))
    objective.distribution_loss(step, Networks(real, real), sample).sum().backward()  # type: ignore[arg-type]
    assert torch.equal(sample.grad, torch.zeros_like(sample))


@pytest.mark.parametrize(
    ("share", "number", "expected"), [(0.5, 0, 3.0), (RAMP, 0, 2.0), (RAMP, 11, 3.0), (RAMP, 12, 4.0), (RAMP, 90, 4.0)]
)
def test_the_teacher_may_be_guided_less_than_the_student_reads(
    share: float | Ramp, number: int, expected: float
) -> None:
    schedule, rows = SCHEDULES["rectified_flow"]().double(), torch.zeros(3, 2, 4).double()
    step = gaussian_step(schedule, rows, conditioning(MEAN, 3, guidance_scale=5.0), number)
    objective = DistributionMatching(guidance_share=share)
    assert objective.teacher_conditioning(step).guidance_scale.tolist() == [expected] * 3
    assert step.guidance_scale.tolist() == [5.0] * 3
    step.training = False
    final = share.end if isinstance(share, Ramp) else share
    assert objective.teacher_conditioning(step).guidance_scale.tolist() == [1 + 4 * final] * 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["fs"] * 6),
        ({"warmup_steps": 2}, ["f", "f", "fs", "fs", "fs", "fs"]),
        ({"fake_steps": 3}, ["f", "f", "fs", "f", "f", "fs"]),
        ({"fake_steps": 2, "warmup_steps": 1}, ["f", "f", "fs", "f", "fs", "f"]),
        ({"fake_steps": 2, "alternating": True}, ["s", "f", "f", "s", "f", "f"]),
        ({"fake_steps": 1, "alternating": True, "warmup_steps": 3}, ["f", "f", "f", "s", "f", "s"]),
    ],
)
def test_who_learns_when(options: dict[str, int], expected: list[str]) -> None:
    objective = DistributionMatching(**options)
    assert [{"f": {"fake"}, "s": {"student"}, "fs": {"fake", "student"}}[who] for who in expected] == [
        objective.active(step) for step in range(6)
    ]


def test_samples_of_several_queries() -> None:
    """Times fall, and gradients go through the last query alone."""
    schedule = SCHEDULES["variance_preserving"]().double()
    objective, student, networks = exact_objective(schedule, std=0.4)
    objective.max_queries, seen = 3, []
    student.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[1], torch.is_grad_enabled())))
    for number, learns in ((0, True), (1, True), (2, True), (5, False)):
        seen.clear()
        active = frozenset({"student", "fake"} if learns else {"fake"})
        step = gaussian_step(schedule, torch.zeros(4, 2, 3).double(), conditioning(MEAN, 4), number, active=active)
        sample = objective.sample(step, networks)
        assert len(seen) == number % 3 + 1
        assert [grad for _, grad in seen] == [False] * (number % 3) + [learns]
        assert sample.requires_grad == learns
        times = torch.stack([t.double() for t, _ in seen])
        assert (times.diff(dim=0) <= 0).all()
        assert (times[0] == 1000).all()


def test_what_was_generated_is_noised_again() -> None:
    """A student of latents 5 is queried next at alpha_t 5 + sigma_t epsilon."""
    schedule = SCHEDULES["rectified_flow"]().double()
    objective, _, _ = exact_objective(schedule, std=0.4)
    student = AffineStudent(schedule, torch.full((2,), 5.0).double(), torch.zeros(2).double())
    objective.max_queries, seen = 2, []
    student.register_forward_pre_hook(lambda _, args: seen.append(args))
    objective.sample(
        gaussian_step(schedule, torch.zeros(4, 2, 2000).double(), conditioning(MEAN, 4), 1), Networks(student)
    )
    z_t, t, _ = seen[1]
    torch.testing.assert_close(z_t.mean((1, 2)), 5 * schedule.alpha(t.double()), atol=0.1, rtol=0)


def test_a_flow_map_is_queried_to_the_end_each_time() -> None:
    schedule = SCHEDULES["rectified_flow"]().double()
    objective, student, networks = exact_objective(schedule, std=0.4)
    objective.max_queries, seen = 2, []
    student.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True)
    for flow_map in (False, True):
        step = gaussian_step(schedule, torch.zeros(2, 2, 3).double(), conditioning(MEAN, 2), 1, flow_map=flow_map)
        objective.sample(step, networks)
    assert seen[:2] == [{}, {}]
    assert [each["s"].tolist() for each in seen[2:]] == [[0.0, 0.0]] * 2


def test_validation_compares_samples_of_one_query() -> None:
    schedule = SCHEDULES["rectified_flow"]().double()
    objective, student, networks = exact_objective(schedule, std=0.4)
    objective.max_queries, seen = 3, []
    student.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    step = gaussian_step(schedule, torch.zeros(2, 2, 3).double(), conditioning(MEAN, 2), 2, training=False)
    with torch.no_grad():
        assert not objective.sample(step, networks).requires_grad
    assert len(seen) == 1


def test_the_number_of_queries_counts_each_networks_own_steps() -> None:
    """As in rCM's code, with 4 steps of the fake score for one of the student, and at most 4 queries."""
    objective = DistributionMatching(fake_steps=4, alternating=True, max_queries=4)
    queries = {step: objective.queries(step) for step in range(25)}
    assert [queries[step] for step in range(25) if "student" in objective.active(step)] == [1, 2, 3, 4, 1]
    assert [queries[step] for step in range(25) if "fake" in objective.active(step)] == [1, 2, 3, 4] * 5
    later = DistributionMatching(fake_steps=4, alternating=True, max_queries=4, warmup_steps=3)
    assert [later.queries(step) for step in range(28)] == [1, 1, 1, *queries.values()]


@pytest.mark.parametrize(
    "options", [{"fake_steps": 0}, {"warmup_steps": -1}, {"time_range": (0.9, 0.1)}, {"max_queries": 0}]
)
def test_impossible_numbers_are_named(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=str(next(iter(options)))):
        DistributionMatching(**options)


def test_a_run_needs_no_loss_plugin_and_exports_a_student(teacher_folder: Path, tmp_path: Path) -> None:
    objective = DistributionMatching(Optimization(learning_rate=1e-3), warmup_steps=1, fake_steps=2)
    module = Distillation(str(teacher_folder), objective, optimization=FAST)
    start = deepcopy(module.student.state_dict())
    teacher = deepcopy(module.frozen.teacher.state_dict())
    run = trainer(tmp_path, max_steps=5)
    run.fit(module, data())
    assert {"train/loss/fake", "train/loss/distribution"} <= run.callback_metrics.keys()
    assert any(not torch.equal(start[name], value) for name, value in module.student.state_dict().items())
    assert all(torch.equal(teacher[name], value) for name, value in module.frozen.teacher.state_dict().items())
    made = module.pipeline()(["a tone"], guidance_scale=2.0, generator=torch.Generator().manual_seed(0))
    assert made.queries == 1
    assert made.waveform.isfinite().all()
