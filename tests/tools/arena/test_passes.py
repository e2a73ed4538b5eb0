"""Network passes: counted exactly, whatever queries the network, and training ends at the budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from consistency_tta.contracts import Learner, Networks, Schedule
from consistency_tta.diffusion.sampler import ODESampler
from consistency_tta.diffusion.solve import DDIM, Heun
from consistency_tta.losses import LatentL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import CombinedObjective, ContinuousConsistency, Distillation, DistributionMatching
from tests.bundles import write_student
from tests.training.runs import FAST, Losses, data, distillation, trainer
from tools.arena.budget import CountPasses
from tools.arena.passes import PassCounter

#: All examples at the top time, with the middle of the trajectory as s.
TOP = {"num_discretization_steps": 2, "terminal_fraction": 1.0}
BATCH = 4


@pytest.fixture(scope="module")
def one_query_teacher(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that has learnt guidance."""
    folder = tmp_path_factory.mktemp("guided")
    write_student(teacher_folder, folder)
    parts = TextToAudioPipeline.from_pretrained(folder).components
    parts["sampler"] = ODESampler(classifier_free_guidance=False)
    TextToAudioPipeline(**parts).save_pretrained(folder)
    return folder


def passes_of_a_step(module: Distillation, folder: Path) -> dict[str, float]:
    """For each clip, by network."""
    count = CountPasses(budget=1)
    trainer(folder, callbacks=[count]).fit(module, data(BATCH))
    return {name: passes / BATCH for name, passes in count.counter.counts.items() if passes}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"solver": DDIM(), **TOP}, {"teacher": 2, "target": 1, "student": 3}),
        ({"solver": Heun(), **TOP}, {"teacher": 4, "target": 1, "student": 3}),
        ({"solver": DDIM(), "teacher_trajectory_fraction": 1.0, "teacher_steps": 3}, {"teacher": 6, "student": 3}),
    ],
)
def test_consistency_distillation(
    options: dict[str, Any], expected: dict[str, float], teacher_folder: Path, tmp_path: Path
) -> None:
    assert passes_of_a_step(distillation(teacher_folder, **options), tmp_path) == expected


def test_a_teacher_that_has_learnt_guidance_takes_one_pass(one_query_teacher: Path, tmp_path: Path) -> None:
    module = distillation(one_query_teacher, solver=DDIM(), **TOP)
    assert passes_of_a_step(module, tmp_path) == {"teacher": 1, "target": 1, "student": 3}


def test_networks_of_the_objective(teacher_folder: Path, tmp_path: Path) -> None:
    module = Distillation(str(teacher_folder), DistributionMatching(), optimization=FAST)
    # The fake score learns (3) and is queried for the student (1).
    assert passes_of_a_step(module, tmp_path) == {"teacher": 2, "objective.fake": 4, "student": 3}


def test_objectives_that_take_turns(teacher_folder: Path, tmp_path: Path) -> None:
    """A step of the student by sCM (with a derivative) and distribution matching, then one of the fake score alone."""
    objective = CombinedObjective(
        {"sCM": ContinuousConsistency(), "DMD": DistributionMatching(alternating=True)}, student_updates="all"
    )
    module = Distillation(str(teacher_folder), objective, {"latent": LatentL2Loss()}, optimization=FAST)
    count = CountPasses(budget=1000)
    trainer(tmp_path, max_steps=2, callbacks=[count]).fit(module, data(BATCH))
    passes = {name: counted / BATCH for name, counted in count.counter.counts.items()}
    assert passes == {"student": (4 + 3) + 1, "teacher": 2 + 2, "objective.DMD.fake": 1 + 3}


class WithHead(DistributionMatching):
    """Has a further network that learns."""

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """A linear head of the samples."""
        super().build(networks, schedule)
        self.head = nn.Linear(128, 1)

    def learners(self) -> dict[str, Learner]:
        """The head as well."""
        return {**super().learners(), "head": Learner(self.head)}

    def forward(self, step: Any, networks: Networks) -> Any:
        """The head's output as a loss."""
        prediction = super().forward(step, networks)
        prediction.losses["head"] = self.head(step.generate(networks).latent.detach().flatten(1))[:, 0]
        return prediction


def test_other_learners_count_by_their_share_of_the_students_parameters(teacher_folder: Path, tmp_path: Path) -> None:
    module = Distillation(str(teacher_folder), WithHead(), optimization=FAST)
    share = 129 / sum(parameter.numel() for parameter in module.student.parameters())
    assert passes_of_a_step(module, tmp_path)["head"] == pytest.approx(3 * share)


def linear(learns: bool) -> tuple[nn.Sequential, PassCounter]:
    network, counter = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).requires_grad_(learns), PassCounter()
    counter.watch("network", network)
    return network, counter


def input_gradient(network: nn.Sequential) -> None:
    x = torch.randn(5, 3, requires_grad=True)
    (x.sum() + network(x).sum()).backward()


def features_gradient(network: nn.Sequential) -> None:
    """The gradient leaves the network through an inner layer; the output is not used."""
    kept = []
    network[0].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    x = torch.randn(5, 3, requires_grad=True)
    network(x)
    (x.sum() + kept[0].sum()).backward()


def derivative(network: nn.Sequential) -> None:
    torch.func.jvp(network, (torch.randn(5, 3),), (torch.randn(5, 3),))


def derivative_and_gradient(network: nn.Sequential) -> None:
    value, _ = torch.func.jvp(network, (torch.randn(5, 3),), (torch.randn(5, 3),))
    value.sum().backward()


def no_gradient(network: nn.Sequential) -> None:
    with torch.no_grad():
        network(torch.randn(5, 3))


@pytest.mark.parametrize(
    ("query", "learns", "expected"),
    [
        (no_gradient, True, 1),
        (no_gradient, False, 1),
        (input_gradient, True, 3),
        (input_gradient, False, 2),  # no gradients of weights
        (features_gradient, False, 2),
        (features_gradient, True, 3),
        (derivative, False, 2),
        (derivative, True, 2),
        (derivative_and_gradient, True, 4),
    ],
)
def test_queries(query: Callable[[nn.Sequential], None], learns: bool, expected: int) -> None:
    network, counter = linear(learns)
    query(network)
    assert counter.total == 5 * expected
    counter.enabled = False
    query(network)
    counter.enabled = True
    counter.remove()
    query(network)
    assert counter.total == 5 * expected


def test_gradients_are_those_without_the_counter(teacher_folder: Path) -> None:
    network, counter = linear(learns=True)
    x = torch.randn(5, 3, requires_grad=True)
    network(x).square().sum().backward()
    counted = x.grad
    counter.remove()
    x.grad = None
    network(x).square().sum().backward()
    assert torch.equal(counted, x.grad)


def test_training_ends_with_the_step_that_spends_the_budget(teacher_folder: Path, tmp_path: Path) -> None:
    count, losses = CountPasses(budget=5 * BATCH * 6 - 1), Losses()
    module = distillation(teacher_folder, solver=DDIM(), **TOP)
    trainer(tmp_path, callbacks=[count, losses]).fit(module, data(BATCH))
    assert len(losses.values) == 5
    assert count.passes == 5 * BATCH * 6
    assert count.cpu_seconds > 0


def test_the_budget_is_positive() -> None:
    with pytest.raises(ConfigurationError):
        CountPasses(budget=0)
