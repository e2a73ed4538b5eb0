"""rCM: continuous-time consistency and distribution matching that take turns, as one CombinedObjective."""

from __future__ import annotations

import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor

from consistency_tta.contracts import Conditioning, Networks, Objective
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.weighting import SNRPlusOne
from consistency_tta.training import CombinedObjective, ContinuousConsistency, DistributionMatching, Ramp
from tests.training.distillation.gaussian import GaussianStudent, distance_to, gaussian_step, squared_error, teacher
from tools.arena.configuration import find


class GaussianScore(GaussianStudent):
    """The denoisers of all Gaussians N(mean, std^2)."""

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """E[z_0 | z_t]."""
        alpha, sigma = expand(self.schedule.alpha(t), z_t), expand(self.schedule.sigma(t), z_t)
        mean, variance = self.mean[:, None], (2 * self.log_std).exp()
        return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (z_t - alpha * mean)


def test_turns_are_those_of_the_public_code() -> None:
    """NVlabs/rcm: the student alone in the warm-up, by sCM; then at every fifth step, by both; the fake score else."""
    content = yaml.safe_load(find("rcm").read_text())["model"]["init_args"]["objective"]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--objective", type=Objective)
    objective = parser.instantiate(parser.parse_object({"objective": content})).objective
    assert isinstance(objective, CombinedObjective)
    for step in range(80):
        student = step < 50 or (step - 50) % 5 == 0
        assert objective.active(step) == ({"student"} if student else {"distribution/fake"})
        assert objective.weight("distribution", step) == (1.8 if step >= 50 else 0.0)


def test_a_student_reaches_the_teachers_gaussian() -> None:
    """Both networks start at other Gaussians; four steps of the fake score for one of the student."""
    guide = teacher()
    matching = DistributionMatching(fake_steps=4, alternating=True, max_queries=2, fake_weighting=SNRPlusOne())
    continuous = ContinuousConsistency(tangent_warmup_steps=20)
    objective = CombinedObjective(
        {"continuous": continuous, "distribution": matching},
        {"distribution": Ramp(0.0, 0.02 * 8**0.5, steps=1, begin=19)},
        student_updates="all",
    )
    matching.fake = GaussianScore(guide.schedule)
    student = GaussianStudent(guide.schedule)
    networks = Networks(student, guide, student)
    learners = {"student": student, "distribution/fake": matching.fake}
    optimizer = torch.optim.Adam([{"params": list(one.parameters())} for one in learners.values()], lr=0.05)
    start = distance_to(student, guide)
    for index in range(420):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - index / 420)
        step = gaussian_step(guide, index, rows=64)
        step.active = frozenset(objective.active(index))
        step._shared["student learns"] = "student" in step.active
        found = objective(step, networks)
        parts = [loss.mean() for loss in found.losses.values()]
        if found.student_latent is not None:
            parts.append(found.latent_weight * squared_error(continuous, found, guide.schedule))
        optimizer.zero_grad()
        torch.stack(parts).sum().backward()
        for name, network in learners.items():
            assert all((parameter.grad is not None) == (name in step.active) for parameter in network.parameters())
        optimizer.step()
    assert distance_to(student, guide) < 0.05 < start
    torch.testing.assert_close(matching.fake.mean, student.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(matching.fake.log_std.exp(), student.log_std.exp(), atol=0.05, rtol=0)
