"""Times without a grid: their distributions, and what they are clipped to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from consistency_tta.contracts import Step
from consistency_tta.diffusion.schedules import RectifiedFlowSchedule
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import LogNormalTimes
from consistency_tta.training.distillation.objectives.times import UniformTimes, lowest_time
from tests.diffusion.conftest import SCHEDULES
from tests.training.distillation.objectives.steps import conditioning, gaussian_step

ROWS = 4000


def step(name: str, **options: Any) -> Step:
    return gaussian_step(SCHEDULES[name](), torch.zeros(ROWS, 1), conditioning(torch.zeros(1), ROWS), **options)


@pytest.mark.parametrize("name", ["variance_preserving", "rectified_flow"])
def test_log_normal_noise_levels(name: str) -> None:
    drawn = LogNormalTimes(mean=0.3, std=0.5)(step(name))
    log = SCHEDULES[name]().ratio(drawn).log()
    # Five standard errors, and the steps of a table.
    assert float(log.mean()) == pytest.approx(0.3, abs=0.04)
    assert float(log.std()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", SCHEDULES)
def test_they_are_clipped_to_what_networks_are_queried_at(name: str) -> None:
    lowest = torch.full((ROWS,), lowest_time(SCHEDULES[name]()))
    torch.testing.assert_close(LogNormalTimes(mean=-50.0)(step(name)), lowest)
    assert set(LogNormalTimes(mean=50.0)(step(name)).tolist()) == {1000.0}


def test_the_lowest_time_is_the_schedules_or_a_thousandth_of_the_top() -> None:
    assert lowest_time(RectifiedFlowSchedule(1000)) == 1.0
    assert lowest_time(RectifiedFlowSchedule(100)) == 0.1
    assert lowest_time(RectifiedFlowSchedule(4000)) == 1.0


@pytest.mark.parametrize(("fraction", "training", "share"), [(0.3, True, 0.3), (1.0, True, 1.0), (0.3, False, 0.0)])
def test_a_share_is_at_the_top_in_training_alone(fraction: float, training: bool, share: float) -> None:
    times = LogNormalTimes(-1.0, 0.5, terminal_fraction=fraction)
    drawn = times(step("variance_preserving", training=training))
    assert float((drawn == 1000).float().mean()) == pytest.approx(share, abs=0.04)
    others = LogNormalTimes(-1.0, 0.5)(step("variance_preserving"))
    assert torch.equal(drawn[drawn < 1000], others[drawn < 1000])


def test_uniform_times() -> None:
    drawn = UniformTimes(0.2, 0.6)(step("variance_preserving"))
    assert float(drawn.min()) == pytest.approx(200, abs=2)
    assert float(drawn.max()) == pytest.approx(600, abs=2)
    assert float(drawn.mean()) == pytest.approx(400, abs=10)
    lowest = SCHEDULES["variance_preserving"]().lowest_time
    assert set(UniformTimes(0.0, 0.0)(step("variance_preserving")).tolist()) == {lowest}


@pytest.mark.parametrize(
    ("times", "wrong"),
    [
        (LogNormalTimes, {"std": 0.0}),
        (LogNormalTimes, {"terminal_fraction": -0.1}),
        (LogNormalTimes, {"terminal_fraction": 1.1}),
        (UniformTimes, {"low": -0.1, "high": 0.5}),
        (UniformTimes, {"low": 0.6, "high": 0.5}),
        (UniformTimes, {"low": 0.5, "high": 1.1}),
    ],
)
def test_impossible_numbers_are_named(times: Any, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=str(next(iter(wrong.values())))):
        times(**wrong)
    UniformTimes(0.0, 1.0)
