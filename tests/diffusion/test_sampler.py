"""Samplers as parts of a model folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consistency_tta.diffusion.grid import KarrasGrid, LinspaceGrid, UniformGrid
from consistency_tta.diffusion.sample import sample_consistency, sample_diffusion
from consistency_tta.diffusion.sampler import ConsistencySampler, ODESampler, Sampler, TrajectorySampler
from consistency_tta.diffusion.solve import DDIM, Heun
from consistency_tta.runtime.errors import ConfigurationError

KARRAS = {"class_path": "KarrasGrid", "init_args": {"rho": 3.0}}


@pytest.mark.parametrize(
    "sampler",
    [
        ConsistencySampler(),
        ConsistencySampler(num_steps=4, grid="LinspaceGrid"),
        TrajectorySampler(2, KARRAS, gamma=0.3),
        ODESampler(),
        ODESampler(18, "consistency_tta.diffusion.solve.Heun", KARRAS, classifier_free_guidance=False),
    ],
    ids=["one query", "several", "trajectory", "default", "all settings"],
)
def test_a_sampler_is_saved_as_its_configuration(sampler: Sampler, tmp_path: Path) -> None:
    sampler.save_pretrained(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["sampler_config.json"]
    loaded = type(sampler).from_pretrained(tmp_path)
    assert {name: value for name, value in sampler.config.items() if name[0] != "_"}.items() <= loaded.config.items()
    assert loaded.default_steps == sampler.default_steps
    assert loaded.one_query == sampler.one_query
    assert loaded.classifier_free_guidance == sampler.classifier_free_guidance
    assert type(loaded.grid) is type(sampler.grid)


def test_settings_reach_grid_and_solver() -> None:
    sampler = ODESampler(18, "Heun", KARRAS)
    assert isinstance(sampler.solver, Heun)
    assert isinstance(sampler.grid, KarrasGrid)
    assert sampler.grid.rho == 3.0


def test_an_ode_sampler_solves_and_counts(teacher, noise, conditioning) -> None:  # type: ignore[no-untyped-def]
    sampler = ODESampler(6, "Heun", "LinspaceGrid")
    made, queries = sampler.sample(teacher, noise, conditioning)
    times = LinspaceGrid()(teacher.schedule, 6)
    assert torch.equal(made, sample_diffusion(teacher, Heun(), times, noise, conditioning))
    assert queries == 12
    other, queries = sampler.sample(teacher, noise, conditioning, 3, solver=DDIM(), grid=UniformGrid())
    times = UniformGrid()(teacher.schedule, 3)
    assert torch.equal(other, sample_diffusion(teacher, DDIM(), times, noise, conditioning))
    assert queries == 3


def test_a_consistency_sampler_queries_and_counts(student, noise, conditioning) -> None:  # type: ignore[no-untyped-def]
    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    made, queries = ConsistencySampler().sample(student, noise, conditioning)
    assert torch.equal(made, sample_consistency(student, noise, conditioning, [1000.0]))
    assert queries == 1
    made, queries = ConsistencySampler(2).sample(student, noise, conditioning, generator=seeded())
    assert torch.equal(made, sample_consistency(student, noise, conditioning, [1000.0, 500.0], seeded()))
    assert queries == 2
    for sampler, given in ((ConsistencySampler(3, "LinspaceGrid"), None), (ConsistencySampler(3), LinspaceGrid())):
        made, _ = sampler.sample(student, noise, conditioning, grid=given, generator=seeded())
        assert torch.equal(made, sample_consistency(student, noise, conditioning, [1000.0, 500.5, 1.0], seeded()))


@pytest.mark.parametrize("solver", ["Hoin", "no.such.module.Heun", "UniformGrid", "subprocess.Popen", "."])
def test_what_is_no_solver_is_refused_and_never_called(solver: str) -> None:
    with pytest.raises(ConfigurationError, match=solver):
        ODESampler(solver={"class_path": solver, "init_args": {"args": ["false"]}})


def test_only_a_consistency_model_is_sampled_in_one_query() -> None:
    assert ConsistencySampler().one_query
    assert TrajectorySampler().one_query
    assert not ODESampler().one_query
