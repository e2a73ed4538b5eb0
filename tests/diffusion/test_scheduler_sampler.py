"""Schedulers of diffusers as samplers, against the exact end of an ODE."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from consistency_tta.diffusion.scheduler_sampler import SchedulerSampler
from consistency_tta.diffusion.schedules import RectifiedFlowSchedule, schedule_from_config
from consistency_tta.diffusion.solve import Heun
from consistency_tta.runtime.errors import ConfigurationError
from tests.diffusion.conftest import SD21_CONFIG, GaussianDenoiser

BETAS = SD21_CONFIG | {"timestep_spacing": "trailing"}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}


@pytest.mark.parametrize(
    ("scheduler", "settings", "error"),
    [
        ("DDIMScheduler", BETAS | {"clip_sample": False, "set_alpha_to_one": True}, 0.03),
        ("EulerDiscreteScheduler", BETAS, 0.03),
        ("HeunDiscreteScheduler", BETAS, 0.015),
        ("DPMSolverMultistepScheduler", BETAS | {"prediction_type": "epsilon", "use_karras_sigmas": True}, 0.005),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, 0.03),
        ("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}, 0.005),
        ("UniPCMultistepScheduler", FLOW, 0.005),
    ],
)
def test_each_scheduler_finds_the_end_of_the_ode(
    scheduler: str, settings: dict[str, Any], error: float, noise: Any, conditioning: Any
) -> None:
    flow = "beta_schedule" not in settings
    schedule = RectifiedFlowSchedule(1000, 3.0) if flow else schedule_from_config(settings)
    teacher = GaussianDenoiser(schedule.double())
    top = torch.full((3,), 1000.0, dtype=torch.float64)
    exact = teacher.exact(noise, top, torch.zeros_like(top), conditioning)
    made, queries = SchedulerSampler(scheduler, settings, num_steps=50).sample(teacher, noise, conditioning)
    assert (made - exact).abs().max() < error * exact.abs().max()
    assert queries == len(teacher.queries) == (99 if "Heun" in scheduler else 50)
    assert SchedulerSampler(scheduler, settings).sample(teacher, noise, conditioning, 4)[1] < 8


@pytest.mark.parametrize("flow", [False, True])
def test_steps_are_seen_and_times_are_floats(noise: Any, conditioning: Any, flow: bool, capsys: Any) -> None:
    schedule = RectifiedFlowSchedule(1000) if flow else schedule_from_config(SD21_CONFIG)
    teacher, seen = GaussianDenoiser(schedule), []

    def on_step(index: int, time: float, z: torch.Tensor) -> torch.Tensor:
        seen.append((index, time))
        return torch.full_like(z, index)

    sampler = SchedulerSampler("FlowMatchEulerDiscreteScheduler") if flow else SchedulerSampler("DDIMScheduler", BETAS)
    assert sampler.classifier_free_guidance
    made, _ = sampler.sample(teacher, noise.bfloat16(), conditioning, 2, on_step=on_step)
    # The scheduler's own spacing of a flow: from T to 1.
    assert seen == [(0, 1000.0), (1, pytest.approx(1.0) if flow else 500.0)]
    assert torch.equal(made, torch.full_like(noise.bfloat16(), 1))
    assert {t.dtype for _, t, _ in teacher.queries} == {torch.float32}
    assert not capsys.readouterr().err
    sampler.sample(teacher, noise, conditioning, 2, progress=True)
    shown = capsys.readouterr().err
    assert "diffusion" in shown
    assert "2/2" in shown


def test_a_scheduler_that_draws_noise_takes_the_generator(teacher: Any, noise: Any, conditioning: Any) -> None:
    sampler = SchedulerSampler("EulerAncestralDiscreteScheduler", BETAS)

    def sample(seed: int) -> torch.Tensor:
        return sampler.sample(teacher, noise, conditioning, 3, generator=torch.Generator().manual_seed(seed))[0]

    assert torch.equal(sample(0), sample(0))
    assert not torch.equal(sample(0), sample(1))


def test_the_scheduler_chooses_steps_and_times(teacher: Any, noise: Any, conditioning: Any) -> None:
    sampler = SchedulerSampler("DDIMScheduler", BETAS)
    with pytest.raises(ConfigurationError, match="DDIMScheduler"):
        sampler.sample(teacher, noise, conditioning, solver=Heun())


@pytest.mark.parametrize("name", ["CosineDPMSolverMultistepScheduler", "UNet2DModel", "os"])
def test_schedulers_of_other_kinds_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        SchedulerSampler(name)
