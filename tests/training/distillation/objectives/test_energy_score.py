"""Energy score: its value and minimiser for Gaussians of captions, whatever the batch; its queries."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import Conditioning, Denoiser, Networks, Step, TextEmbedding
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import CombinedObjective, Distillation, EnergyDistance, EnergyScore, TeacherFeatures
from tests.diffusion.conftest import SCHEDULES
from tests.training.distillation.objectives.steps import gaussian_step
from tests.training.runs import FAST, batch, data, in_training, query_sizes, rng, trainer

FLOW = SCHEDULES["rectified_flow"]().double()
#: Of the recordings of three captions.
MEANS, STDS = torch.tensor([-1.0, 0.2, 0.8]).double(), torch.tensor([0.3, 1.0, 0.5]).double()


class CaptionStudent(Denoiser):
    """z_0 = mean + std z_t, of each caption, which is its number."""

    def __init__(self, means: Tensor, stds: Tensor) -> None:
        super().__init__()
        self.schedule = FLOW
        self.means, self.stds = torch.nn.Parameter(means.clone()), torch.nn.Parameter(stds.clone())

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """(B, 1, 1)."""
        caption = conditioning.text.embedding[:, 0, 0].long()
        return self.means[caption].view(-1, 1, 1) + self.stds[caption].view(-1, 1, 1) * z_t


def step_of(number: int, captions: Tensor) -> Step:
    noise = torch.randn(len(captions), dtype=torch.float64, generator=torch.Generator().manual_seed(number))
    z_0 = (MEANS[captions] + STDS[captions] * noise).view(-1, 1, 1)
    text = TextEmbedding(captions[:, None, None].double(), torch.ones(len(captions), 1, dtype=torch.bool))
    return gaussian_step(FLOW, z_0, Conditioning(text, torch.ones(len(captions)).double()), number)


@pytest.mark.parametrize("samples", [2, 4])
def test_its_mean_is_the_closed_form(samples: int) -> None:
    """2 E |x - y| - E |x - x'| of x ~ N(0, 1) and y ~ N(m, s^2), for each caption."""
    captions = torch.arange(3).repeat(4000)
    student = CaptionStudent(torch.zeros(3).double(), torch.ones(3).double())
    found = EnergyScore(samples=samples)(step_of(0, captions), Networks(student)).losses["energy"].detach()
    for caption, (mean, std) in enumerate(zip(MEANS.tolist(), STDS.tolist(), strict=True)):
        tau = math.sqrt(1 + std**2)
        near = tau * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / (2 * tau**2)) + mean * math.erf(
            mean / (tau * math.sqrt(2))
        )
        values = found[captions == caption]
        error = float(values.std()) / math.sqrt(len(values))
        assert abs(float(values.mean()) - (2 * near - 2 / math.sqrt(math.pi))) < 4 * error


def test_each_caption_ends_at_its_own_distribution() -> None:
    student = CaptionStudent(torch.zeros(3).double(), torch.ones(3).double())
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=150)
    for number in range(150):
        optimizer.zero_grad()
        step = step_of(number, torch.arange(300) % 3)
        EnergyScore()(step, Networks(student)).losses["energy"].mean().backward()
        optimizer.step()
        decay.step()
    torch.testing.assert_close(student.means.detach(), MEANS, atol=0.1, rtol=0)
    torch.testing.assert_close(student.stds.detach().abs(), STDS, atol=0.1, rtol=0)


def test_a_row_is_scored_by_itself() -> None:
    """So batches may be of any size, even of one row."""
    one, other, real = (torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))).unbind()
    score = EnergyScore().score([[one], [other]], [real])
    for row in range(5):
        alone = EnergyScore().score([[one[row : row + 1]], [other[row : row + 1]]], [real[row : row + 1]])
        torch.testing.assert_close(alone, score[row : row + 1])


def test_without_other_samples_diversity_would_be_lost() -> None:
    """The first term alone shrinks the deviation; the second one widens it as much, where it is right."""
    captions = torch.arange(3).repeat(2000)
    student = CaptionStudent(MEANS, STDS)
    objective = EnergyScore()
    step = step_of(0, captions)
    one, other = step.generate(Networks(student)).latent, objective.further(step, Networks(student))
    near = 2 * objective.row_distance([one.flatten(1)], [step.clean_latent.flatten(1)])
    apart = objective.row_distance([one.flatten(1)], [other.flatten(1)])
    [shrinks] = torch.autograd.grad(near.mean(), student.stds, retain_graph=True)
    [widens] = torch.autograd.grad(apart.mean(), student.stds)
    assert bool((shrinks > 0.1).all())
    torch.testing.assert_close(shrinks, widens, atol=0.06, rtol=0)


def test_samples_are_from_independent_noise() -> None:
    captions = torch.zeros(5000, dtype=torch.long)
    student = CaptionStudent(MEANS, STDS)
    step = step_of(0, captions)
    samples = [step.generate(Networks(student)).latent]
    samples += [EnergyScore().further(step, Networks(student)) for _ in range(2)]
    correlation = torch.corrcoef(torch.stack([sample.detach().flatten() for sample in [*samples, step.clean_latent]]))
    torch.testing.assert_close(correlation, torch.eye(4).double(), atol=0.06, rtol=0)


@pytest.mark.parametrize("flow_map", [False, True])
def test_further_samples_are_made_as_the_first_is(flow_map: bool) -> None:
    """In one query of noise, of a flow map from T to 0; with gradients where the student learns."""

    class Observed(CaptionStudent):
        def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
            seen.append((t.tolist(), None if s is None else s.tolist()))
            return super().forward(z_t, t, conditioning, s)

    seen: list[tuple[list[float], list[float] | None]] = []
    student, step = Observed(MEANS, STDS), step_of(0, torch.tensor([0, 2]))
    step.flow_map = flow_map
    EnergyScore(samples=3)(step, Networks(student))
    top = float(FLOW.num_train_timesteps)
    assert seen == [([top, top], [0.0, 0.0] if flow_map else None)] * 3
    assert EnergyScore().further(step, Networks(student)).requires_grad
    with torch.no_grad():
        assert not EnergyScore().further(step, Networks(student)).requires_grad
    other = step.for_objective(frozenset({"fake"}))
    assert not EnergyScore().further(other, Networks(student)).requires_grad


def test_a_collapsed_student_has_finite_gradients() -> None:
    """Two samples alike: their distance has no slope."""
    one = torch.ones(2, 3, requires_grad=True)
    EnergyScore().row_distance([one], [torch.ones(2, 3)]).sum().backward()
    assert torch.equal(one.grad, torch.zeros(2, 3))


def test_rows_have_times_and_noise_of_their_own(teacher_folder: Path, tmp_path: Path) -> None:
    """Only a caption's samples are compared with each other, so nothing calls for the same noise in all rows."""
    objective = EnergyScore(TeacherFeatures(blocks=["mid_block"]))
    module = in_training(Distillation(str(teacher_folder), objective, optimization=FAST), tmp_path)
    times: list[Tensor] = []
    module.frozen.teacher.denoiser.register_forward_pre_hook(lambda _module, args: times.append(args[1]))
    objective(module.step(batch(), rng()), module.networks(averaged=False))
    assert len(times) == 3
    assert all(torch.equal(t, times[0]) for t in times)
    assert len(set(times[0].tolist())) == 4


def test_passes_of_student_and_teacher(teacher_folder: Path, tmp_path: Path) -> None:
    """The first sample is that of other objectives."""
    parts = {"score": EnergyScore(TeacherFeatures(), samples=3), "distance": EnergyDistance()}
    module = in_training(Distillation(str(teacher_folder), CombinedObjective(parts), optimization=FAST), tmp_path)
    passes, queries = query_sizes(module.frozen.teacher.denoiser), query_sizes(module.student)
    module.loss(batch(), rng()).backward()
    assert (passes, queries) == ([4] * 4, [4] * 3)
    assert all(parameter.grad is None for parameter in module.frozen.teacher.parameters())


def test_a_run_needs_no_loss_plugin(teacher_folder: Path, tmp_path: Path) -> None:
    objective = EnergyScore(TeacherFeatures(blocks=["up_blocks.1"]))
    module = Distillation(str(teacher_folder), objective, optimization=FAST)
    start, teacher = deepcopy(module.student.state_dict()), deepcopy(module.frozen.teacher.state_dict())
    run = trainer(tmp_path, max_steps=3, limit_val_batches=1, val_check_interval=3)
    run.fit(module, data())
    assert {"train/loss/energy", "val/loss/energy"} <= run.callback_metrics.keys()
    assert any(not torch.equal(start[name], value) for name, value in module.student.state_dict().items())
    assert all(torch.equal(teacher[name], value) for name, value in module.frozen.teacher.state_dict().items())
    assert module.pipeline()(["a tone"], guidance_scale=2.0).queries == 1


def test_one_sample_is_not_enough() -> None:
    with pytest.raises(ConfigurationError, match="1"):
        EnergyScore(samples=1)
