"""What all objectives make of latents: noise is added to clips, and half precision is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import Conditioning, Denoiser, Networks
from consistency_tta.diffusion.schedules import stable_diffusion_scheduler
from consistency_tta.diffusion.schedules.from_config import schedule_from_config
from consistency_tta.training import ConsistencyTraining, ContinuousConsistency, GridPairs, TrajectoryConsistency
from consistency_tta.training.step_rng import StepRNG
from tests.flow_maps import GaussianFlowMap, step
from tests.training.distillation.objectives.test_sharded_queries import OBJECTIVES

MORE: dict[str, Any] = {
    "to a later time": lambda: TrajectoryConsistency(compare="trajectory", num_discretization_steps=3),
    "training": lambda: ConsistencyTraining(guided=True, pairs=GridPairs(4)),
    "by differences": lambda: ContinuousConsistency(derivative="central_difference"),
}
#: Whose trajectories start from noise, in float32, which networks convert.
FROM_NOISE = {"consistency", "backward"}


class HalfPrecision(Denoiser):
    """Returns latents of the dtype that it is given; may refuse others than bfloat16."""

    def __init__(self, schedule: Any, strict: bool) -> None:
        super().__init__()
        self.schedule, self.strict = schedule, strict
        self.factor = torch.nn.Parameter(torch.tensor(0.9, dtype=torch.bfloat16))

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        assert z_t.dtype == torch.bfloat16 or not self.strict
        return self.factor * z_t


@pytest.mark.parametrize("name", [*OBJECTIVES, *MORE])
def test_networks_get_the_latents_precision(name: str) -> None:
    schedule = schedule_from_config(stable_diffusion_scheduler().config)
    objective = (OBJECTIVES | MORE)[name]()
    found = Networks(*(HalfPrecision(schedule, name not in FROM_NOISE) for _ in range(3)))
    objective.build(found, schedule)
    given = step(schedule, rows=16, global_step=500)
    prediction = objective(replace(given, clean_latent=given.clean_latent.bfloat16()), found)
    if prediction.student_latent is not None:
        assert prediction.student_latent.dtype == torch.bfloat16 or name in FROM_NOISE
        if not isinstance(objective, ContinuousConsistency):  # whose target is computed in float32
            assert prediction.target_latent.dtype == prediction.student_latent.dtype
        assert prediction.student_latent.requires_grad
        assert not prediction.target_latent.requires_grad


class KnownNoise(StepRNG):
    """All noise is 100."""

    def normal_like(self, example: Tensor) -> Tensor:
        return torch.full_like(example, 100.0)


@pytest.mark.parametrize("name", sorted((OBJECTIVES | MORE).keys() - FROM_NOISE))
def test_the_student_is_queried_at_noised_clips(name: str) -> None:
    schedule = schedule_from_config(stable_diffusion_scheduler().config).double()
    objective = (OBJECTIVES | MORE)[name]()
    found = Networks(*(GaussianFlowMap(schedule) for _ in range(3)))
    objective.build(found, schedule)
    queries: list[Any] = []
    found.student.register_forward_pre_hook(lambda _module, args: queries.append(args))
    given = replace(step(schedule, rows=8), rng=KnownNoise(0, 0, 0, torch.device("cpu")))
    objective(given, found)
    z_t, t, *_ = queries[0]
    noise = torch.full_like(given.clean_latent, 100.0)
    torch.testing.assert_close(z_t.detach(), schedule.add_noise(given.clean_latent, noise, t), rtol=1e-5, atol=1e-4)
