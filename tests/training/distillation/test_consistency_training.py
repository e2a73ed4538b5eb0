"""Consistency training: pairs of one clip and one noise, from which the closed form is learnt."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.contracts import Networks
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.noise import add_noise, expand
from consistency_tta.diffusion.schedules import RectifiedFlowSchedule
from consistency_tta.diffusion.solve import DDIM
from consistency_tta.diffusion.weighting import InverseGap
from consistency_tta.losses import LatentPseudoHuberLoss
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import (
    ConsistencyTraining,
    DiscretizationSchedule,
    Distillation,
    GridPairs,
    LogNormalTimes,
    TighteningPairs,
)
from tests.diffusion.conftest import SCHEDULES, ExactStudent, GaussianDenoiser
from tests.training.distillation.gaussian import GaussianStudent, distance_to, gaussian_step, learn, teacher
from tests.training.runs import FAST, Losses, batch, data, in_training, query_sizes, rng, trainer


def distillation(folder: Path, **options: Any) -> Distillation:
    losses = {"latent": LatentPseudoHuberLoss()}
    return Distillation(str(folder), ConsistencyTraining(**options), losses, optimization=FAST)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("guided", [True, False])
def test_both_times_share_clip_and_noise(name: str, guided: bool) -> None:
    guide = teacher(name)
    objective = ConsistencyTraining(
        LogNormalTimes(terminal_fraction=0.2), TighteningPairs(every=10), guided=guided, target_ema_decay=0.9
    )
    queries: list[Any] = []

    class Recorded(ExactStudent):
        def forward(self, z_t: Any, t: Any, conditioning: Any) -> Any:
            queries.append((z_t, t))
            return super().forward(z_t, t, conditioning)

    networks = Networks(Recorded(guide), guide if guided else None, Recorded(guide))
    step = gaussian_step(guide, index=25, rows=32)
    found = objective(step, networks)
    (z_t, t), (z_s, queried) = queries
    epsilon = (z_t - expand(guide.schedule.alpha(t), z_t) * step.clean_latent) / expand(guide.schedule.sigma(t), z_t)
    noisy = found.s > 0
    assert noisy.any()
    assert (found.s < found.t).all()
    assert torch.equal(queried[noisy], found.s[noisy])
    assert (queried > 0).all()  # where no network is defined
    expected = add_noise(guide.schedule, step.clean_latent, epsilon, found.s)
    if guided:
        expected[noisy] = DDIM()(guide, z_t, t, found.s, step.conditioning)[noisy]
    torch.testing.assert_close(z_s[noisy], expected[noisy])
    end = guide(z_t, t, step.conditioning) if guided else step.clean_latent
    assert torch.equal(found.target_latent[~noisy], end[~noisy])


def test_low_times_of_short_schedules_are_noisy_as_well() -> None:
    """Where T is 100, networks are queried down to t = 0.1."""
    guide = GaussianDenoiser(RectifiedFlowSchedule(100).double())
    objective = ConsistencyTraining(LogNormalTimes(-5.0, 0.1), TighteningPairs(base=256.0, stages=1))
    student, queried = GaussianStudent(guide.schedule), []
    student.register_forward_pre_hook(lambda _module, args: queried.append(args[1]))
    step = gaussian_step(guide)
    found = objective(step, Networks(student))
    assert ((found.s > 0.1) & (found.s < 1)).all()
    assert torch.equal(queried[1], found.s)
    assert not found.target_latent.requires_grad
    assert not torch.isclose(found.target_latent, step.clean_latent, rtol=0, atol=1e-7).any()


def test_pairs_tighten_as_in_the_paper() -> None:
    schedule = teacher().schedule
    pairs = TighteningPairs(base=2.0, every=100, stages=4)
    t = schedule.time(torch.tensor([0.2, 1.0, 10.0], dtype=torch.float64))
    for step, stage in ((0, 1), (99, 1), (100, 2), (399, 4), (10**6, 4), (None, 4)):
        ratio = schedule.ratio(t)
        expected = ratio * (1 - (1 + 8 / (1 + ratio.exp())) / 2**stage).clamp(min=0)
        same, s = pairs(t, schedule, step)
        assert torch.equal(same, t)
        lowest = schedule.ratio(torch.tensor(1.0))
        torch.testing.assert_close(schedule.ratio(s), torch.where(expected < lowest, 0, expected))


def test_pairs_at_the_top_have_the_highest_ratio() -> None:
    """Where sigma / alpha is infinite at T, s is found from 500."""
    schedule = SCHEDULES["rectified_flow"]().double()
    t = torch.tensor([1000.0], dtype=torch.float64)
    _, s = TighteningPairs(base=4.0, stages=1)(t, schedule, None)
    torch.testing.assert_close(schedule.ratio(s), torch.tensor([500.0 * 3 / 4], dtype=torch.float64))


def test_pairs_that_would_end_below_0_end_there() -> None:
    schedule = SCHEDULES["rectified_flow"]()
    _, s = TighteningPairs(base=1.1, stages=1)(torch.tensor([500.0]), schedule, None)  # 1 - n / base is -1.9
    assert s.tolist() == [0.0]


@pytest.mark.parametrize("wrong", [{"base": 1.0}, {"every": 0}, {"stages": 0}, {"k": -1.0}, {"b": -1.0}])
def test_impossible_pairs_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        TighteningPairs(**wrong)
    TighteningPairs(base=1.5, every=1, stages=1, k=0.0, b=0.0)


def test_settings_reach_what_reads_them() -> None:
    """A target's decay and a weighting are read by ``Distillation``; what is not given has the papers' default."""
    weighting = InverseGap(floor=0.3)
    given, default = ConsistencyTraining(target_ema_decay=0.9, weighting=weighting), ConsistencyTraining()
    assert (given.target_ema_decay, given.weighting) == (0.9, weighting)
    assert default.target_ema_decay is None
    assert isinstance(default.weighting, InverseGap)


def test_pairs_of_a_grid_are_neighbours() -> None:
    schedule = teacher().schedule
    pairs = GridPairs(DiscretizationSchedule(2, 10, every=5))
    t = torch.tensor([1000.0, 501.0, 500.0, 1.0])
    found, s = pairs(t, schedule, 0)
    assert found.tolist() == [1000, 1000, 500, 500]
    assert s.tolist() == [500, 500, 0, 0]
    found, s = pairs(t.double(), schedule, None)
    assert found.dtype == s.dtype == torch.float64
    assert found.tolist() == [1000, 600, 500, 100]
    assert pairs(t, schedule, None)[0].dtype == torch.float32
    rounded: Any = lambda schedule, number: UniformGrid()(schedule, number) - 1e-3  # noqa: E731
    assert GridPairs(2, rounded)(t, schedule, None)[1].tolist() == pytest.approx([500, 500, 500, 0], abs=0.01)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_exact_function_is_the_minimiser_of_tight_pairs(name: str) -> None:
    """The difference per distance vanishes with the distance; for any other function it does not."""
    guide = teacher(name)

    def slope(student: Any, stages: int) -> float:
        objective = ConsistencyTraining(pairs=TighteningPairs(stages=stages), guided=True)
        step = gaussian_step(guide, rows=64, training=False)
        found = objective(step, Networks(student, guide))
        ratio = guide.schedule.ratio(found.t)
        distance = ratio - guide.schedule.ratio(found.s)
        usual = (ratio > 0.1) & (ratio < 10)  # where s is not 0, and the distance is small
        error = (found.student_latent - found.target_latent).flatten(1).norm(dim=1)
        return float((error / distance)[usual].mean())

    exact = [slope(ExactStudent(guide), stages) for stages in (8, 9, 10, 11)]
    for wider, tighter in pairwise(exact):
        assert tighter == pytest.approx(wider / 2, rel=0.1)
    assert slope(guide, 11) > 20 * exact[-1]


@pytest.mark.parametrize("guided", [True, False])
def test_a_student_learns_the_closed_form(guided: bool) -> None:
    guide = teacher()
    student = GaussianStudent(guide.schedule)
    tight = TighteningPairs(base=256.0, stages=1)
    learn(student, ConsistencyTraining(pairs=tight, guided=guided), guide)
    assert distance_to(student, guide) < 0.03


def test_the_weighting_is_the_inverse_distance_up_to_the_stage() -> None:
    schedule, pairs = teacher().schedule, TighteningPairs()
    t = schedule.time(torch.tensor([0.05, 0.5, 2.0, 5.0], dtype=torch.float64))
    _, s = pairs(t, schedule, None)
    weights = InverseGap(floor=0.0)(t, schedule)
    torch.testing.assert_close(weights * (schedule.ratio(t) - schedule.ratio(s)), torch.full_like(t, 2.0**-8))
    assert (InverseGap(floor=0.3)(t, schedule) >= 0.3).all()


@pytest.mark.parametrize("guided", [True, False])
def test_the_teacher_is_queried_if_guided_alone(guided: bool, teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder, guided=guided)
    student = query_sizes(module.student)
    teachers = query_sizes(module.frozen.teacher) if guided else []
    in_training(module, tmp_path).loss(batch(4), rng())
    assert student == [4, 4]
    assert teachers == [4] * guided
    assert hasattr(module.frozen, "teacher") == guided


def test_gradients_reach_the_student_under_autocast(teacher_folder: Path, tmp_path: Path) -> None:
    """Weights that autocast converted for the target, without gradients, must not be used for the student."""
    module = in_training(distillation(teacher_folder), tmp_path)
    with torch.autocast("cpu", torch.bfloat16):
        module.loss(batch(4), rng()).backward()
    assert all(parameter.grad is not None for parameter in module.student.parameters() if parameter.requires_grad)


def test_a_run_can_be_resumed(teacher_folder: Path, tmp_path: Path) -> None:
    options = {"pairs": TighteningPairs(every=2), "times": LogNormalTimes(terminal_fraction=0.3)}
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
