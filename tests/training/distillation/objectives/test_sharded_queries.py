"""Where networks are sharded over processes, each process queries each network equally often, whatever it draws."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from consistency_tta.contracts import Networks, Objective, Prediction
from consistency_tta.diffusion.schedules import stable_diffusion_scheduler
from consistency_tta.diffusion.schedules.from_config import schedule_from_config
from consistency_tta.diffusion.solve import Heun
from consistency_tta.training import (
    AlphaSchedule,
    ConsistencyDistillation,
    ContinuousConsistency,
    MeanFlow,
    TimePairs,
    TrajectoryBackward,
    TrajectoryConsistency,
)
from tests.flow_maps import GaussianFlowMap, step

HALF = TimePairs(instantaneous_fraction=0.5)
OBJECTIVES: dict[str, Any] = {
    "consistency": lambda: ConsistencyDistillation(
        Heun(), terminal_fraction=0.4, teacher_trajectory_fraction=0.3, teacher_steps=2
    ),
    "without a target": lambda: ConsistencyDistillation(target_ema_decay=None, num_discretization_steps=2),
    "trajectory": lambda: TrajectoryConsistency(terminal_fraction=0.5, solver_steps=3, num_discretization_steps=4),
    "to the end": lambda: TrajectoryConsistency(compare="end", terminal_fraction=0.5, num_discretization_steps=3),
    "backward": lambda: TrajectoryBackward(num_steps=2, pairs=1),
    "mean flow": lambda: MeanFlow(times=HALF),
    "improved": lambda: MeanFlow(times=HALF, tangent="student"),
    "alpha": lambda: MeanFlow(times=HALF, alpha=AlphaSchedule(1000)),
    "continuous": ContinuousConsistency,
}


def network(schedule: Any) -> Any:
    return GaussianFlowMap(schedule, mean=0.3, std=0.9)


def run(
    objective: Objective, index: int, sharded: bool, rows: int = 1
) -> tuple[Prediction, Counter[str], list[torch.Tensor]]:
    """A prediction, the number of queries and of backward passes of each network, and the student's gradients."""
    schedule = schedule_from_config(stable_diffusion_scheduler().config).double()
    found = Networks(network(schedule), network(schedule), network(schedule))
    objective.build(found, schedule)
    given, calls = replace(step(schedule, rows, index, global_step=500), sharded=sharded), Counter[str]()
    for name, queried in vars(found).items():
        queried.requires_grad_(name == "student")

        def count(_module: Any, _inputs: Any, output: Any, name: str = name) -> None:
            calls[name] += 1
            if output.requires_grad:
                output.register_hook(lambda _gradient: calls.update({f"{name} backward": 1}))

        queried.register_forward_hook(count)
    prediction = objective(given, found)
    losses = list(prediction.losses.values())
    if prediction.student_latent is not None:
        losses.append((prediction.student_latent - prediction.target_latent).square())
    sum(loss.sum() for loss in losses).backward()
    return prediction, calls, [parameter.grad for parameter in found.student.parameters()]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_process_makes_the_same_queries(name: str) -> None:
    objective = OBJECTIVES[name]()
    counts = {frozenset(run(objective, index, sharded=True)[1].items()) for index in range(16)}
    assert len(counts) == 1


@pytest.mark.parametrize("name", OBJECTIVES)
def test_further_queries_change_nothing(name: str) -> None:
    objective = OBJECTIVES[name]()
    for index in range(8):
        rows = 1 + index % 2
        (one, few, expected), (other, more, found) = (run(objective, index, sharded, rows) for sharded in (False, True))
        assert few <= more
        for key, value in vars(one).items():
            torch.testing.assert_close(vars(other)[key], value, rtol=0, atol=0, equal_nan=False)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
