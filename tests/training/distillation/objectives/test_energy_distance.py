"""Energy distance: closed forms of Gaussians, bias, where training ends, captions, the teacher's features."""

from __future__ import annotations

import math
import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from consistency_tta.components.denoiser_features import DenoiserFeatures
from consistency_tta.contracts import Networks, Step, TextEmbedding
from consistency_tta.runtime.errors import ConfigurationError, ShapeError
from consistency_tta.training import Distillation, EnergyDistance, TeacherFeatures
from consistency_tta.training.distillation.objectives.energy import squared_distance
from consistency_tta.training.distillation.objectives.energy_distance import caption_distance
from tests.diffusion.conftest import SCHEDULES
from tests.training.distillation.objectives.steps import AffineStudent, conditioning, gaussian_step
from tests.training.runs import FAST, batch, data, in_training, query_sizes, rng, trainer

FLOW = SCHEDULES["rectified_flow"]().double()
MEAN = torch.tensor([0.3, -0.6], dtype=torch.float64)


def normal(rows: int, number: int, *shape: int) -> Tensor:
    return torch.randn(rows, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(number))


def absolute_moment(mean: float, std: float) -> float:
    """E |Z| of a normal Z."""
    folded = std * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / (2 * std**2))
    return folded + mean * math.erf(mean / (std * math.sqrt(2)))


def same_captions(rows: int) -> TextEmbedding:
    return TextEmbedding(torch.ones(rows, 1, 3, dtype=torch.float64), torch.ones(rows, 1, dtype=torch.bool))


@pytest.mark.parametrize("rows", [2, 5])
@pytest.mark.parametrize(("mean", "std"), [(0.7, 1.5), (0.0, 1.0)])
def test_its_mean_over_small_batches_is_the_closed_form(rows: int, mean: float, std: float) -> None:
    """N(mean, std^2) against N(0, 1), which a biased estimate of two rows would miss by half of E |x - x'|."""
    objective, values = EnergyDistance(), []
    made, real = mean + std * normal(1000, 0, rows, 1), normal(1000, 1, rows, 1)
    for x, y in zip(made, real, strict=True):
        values.append(objective.distance([x], [y], same_captions(rows)).mean())
    found = torch.stack(values)
    cross = absolute_moment(mean, math.sqrt(1 + std**2))
    expected = 2 * cross - absolute_moment(0, std * math.sqrt(2)) - absolute_moment(0, math.sqrt(2))
    assert abs(float(found.mean()) - expected) < 4 * float(found.std()) / math.sqrt(len(found))


@pytest.mark.parametrize("beta", [0.5, 1.5])
def test_powers_of_the_distance(beta: float) -> None:
    """E |X|^beta of a normal X of variance tau^2 is (sqrt(2) tau)^beta Gamma((beta + 1) / 2) / sqrt(pi)."""
    std = 2.0
    value = (
        EnergyDistance(beta=beta).distance([std * normal(1500, 0, 1)], [normal(1500, 1, 1)], same_captions(1500)).mean()
    )
    scale = math.gamma((beta + 1) / 2) / math.sqrt(math.pi)
    parts = [(2 * tau) ** (beta / 2) * scale for tau in (1 + std**2, 2 * std**2, 2)]  # of tau^2
    assert float(value) == pytest.approx(2 * parts[0] - parts[1] - parts[2], rel=0.2)


def step_of(number: int, rows: int = 64, std: float = 0.5) -> Step:
    z_0 = MEAN[None, :, None] + std * normal(rows, number, 2, 1)
    return gaussian_step(FLOW, z_0, conditioning(MEAN, rows), number)


def test_no_gradient_remains_where_distributions_are_equal() -> None:
    """In the mean over steps, for the mean and for the deviation; each step by itself has some."""
    student = AffineStudent(FLOW, MEAN, torch.full((2,), 0.5, dtype=torch.float64))
    gradients = []
    for number in range(200):
        student.zero_grad()
        EnergyDistance()(step_of(number, rows=16), Networks(student)).losses["energy"].mean().backward()
        gradients.append(torch.cat([student.shift.grad, student.scale.grad]))
    found = torch.stack(gradients)
    error = found.std(0) / math.sqrt(len(found))
    assert bool((found.mean(0).abs() < 4 * error).all())
    assert float(error.max()) < 0.02


@pytest.mark.parametrize("beta", [1.0, 1.5])
def test_the_student_ends_at_the_recordings_mean_and_deviation(beta: float) -> None:
    student = AffineStudent(FLOW, torch.zeros(2).double(), torch.ones(2).double())
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    for number in range(150):
        if number == 100:
            optimizer.param_groups[0]["lr"] = 0.003
        optimizer.zero_grad()
        EnergyDistance(beta=beta)(step_of(number), Networks(student)).losses["energy"].mean().backward()
        optimizer.step()
    torch.testing.assert_close(student.shift.detach(), MEAN, atol=0.05, rtol=0)
    torch.testing.assert_close(student.scale.detach().abs(), torch.full((2,), 0.5).double(), atol=0.05, rtol=0)


def test_captions_count_as_much_as_their_weight() -> None:
    """Samples of the other caption are seen with a weight alone: the batch as a whole is right."""
    which = torch.arange(64) % 2
    text = TextEmbedding(which[:, None, None].double(), torch.ones(64, 1, dtype=torch.bool))
    at = torch.where(which[:, None] == 1, 1.0, -1.0)
    found = {}
    for weight in (0.0, 1.0, 100.0):
        right, wrong = [], []
        for number in range(20):
            noise, real = 0.1 * normal(64, number, 1), at + 0.1 * normal(64, 1000 + number, 1)
            objective = EnergyDistance(caption_weight=weight)
            right.append(objective.distance([at + noise], [real], text).mean())
            wrong.append(objective.distance([noise - at], [real], text).mean())
        found[weight] = float(torch.stack(right).mean()), float(torch.stack(wrong).mean())
    assert all(abs(right) < 0.01 for right, _ in found.values())
    # Of pairs of unlike rows, 31 of 63 have the same caption; those alone are seen at a high weight: 2 (2 - 0).
    assert found[0.0][1] == pytest.approx(0, abs=0.1)
    assert found[100.0][1] == pytest.approx(4 * 31 / 63, abs=0.15)
    assert found[0.0][1] < found[1.0][1] < found[100.0][1]


def test_captions_are_compared_in_units_of_the_batch() -> None:
    embedding = normal(6, 0, 3, 4)
    mask = torch.tensor([[True, True, False]] * 6)
    squared = caption_distance(TextEmbedding(embedding, mask))
    torch.testing.assert_close(caption_distance(TextEmbedding(10 * embedding + 3, mask)), squared)
    assert float(squared.sum()) == pytest.approx(6 * 5)
    masked = embedding.clone()
    masked[:, 2] = 1e3
    torch.testing.assert_close(caption_distance(TextEmbedding(masked, mask)), squared)
    assert caption_distance(same_captions(3)).tolist() == [[0.0] * 3] * 3


def test_pair_by_pair() -> None:
    """The definition, in loops; captions of three tokens, of one, and of none."""
    weight, beta, rows = 3.0, 1.5, 3
    made, real, embedding = normal(rows, 0, 5), normal(rows, 1, 5), normal(rows, 2, 3, 4)
    lengths = [3, 1, 0]
    mask = torch.arange(3)[None] < torch.tensor(lengths)[:, None]
    means = [row[:length].mean(0) if length else torch.zeros(4) for row, length in zip(embedding, lengths, strict=True)]
    captions = torch.stack([torch.stack([(a - b).square().sum() for a in means]) for b in means])
    captions = captions * 6 / captions.sum()  # 6 pairs of different rows

    def d(one: Tensor, other: Tensor, i: int, j: int) -> float:
        return float((one[i] - other[j]).square().sum() + weight**2 * captions[i, j]) ** (beta / 2)

    expected = [
        sum(
            d(made, real, i, j) + d(real, made, i, j) - d(made, made, i, j) - d(real, real, i, j)
            for j in range(rows)
            if j != i
        )
        / (rows - 1)
        for i in range(rows)
    ]
    objective = EnergyDistance(caption_weight=weight, beta=beta)
    assert objective.distance([made], [real], TextEmbedding(embedding, mask)).tolist() == pytest.approx(expected)


def test_distances_of_near_vectors_keep_their_digits() -> None:
    one, other = 1e3 + normal(30, 0, 4).float(), 1e3 + normal(20, 1, 4).float()
    expected = (one.double()[:, None] - other.double()).square().sum(-1)
    torch.testing.assert_close(squared_distance(one, other).double(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("pooled", [False, True])
def test_in_the_teachers_features(pooled: bool, teacher_folder: Path, tmp_path: Path) -> None:
    """Two passes, gradients of the student alone, and no distance of a sample that is the recording."""
    objective = EnergyDistance(TeacherFeatures(pooled=pooled))
    module = in_training(Distillation(str(teacher_folder), objective, optimization=FAST), tmp_path)
    teacher, networks = module.frozen.teacher, module.networks(averaged=False)
    sizes, queries = query_sizes(teacher.denoiser), query_sizes(module.student)
    objective(module.step(batch(), rng()), networks).losses["energy"].mean().backward()
    assert (sizes, queries) == ([4, 4], [4])
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert any(float(p.grad.abs().sum()) > 0 for p in module.student.parameters() if p.grad is not None)
    step = module.step(batch(), rng())
    embed = objective.embedding(step, networks, one_for_all=True)
    vectors = embed(step.clean_latent)
    assert len(vectors) == 5  # two blocks down, the middle, two blocks up
    distance = objective.distance(vectors, embed(step.clean_latent), step.conditioning.text)
    # Each pair of rows counts twice as cross and once as each of the others.
    torch.testing.assert_close(distance, torch.zeros(4))


def test_all_rows_get_the_same_time_and_noise_in_features(teacher_folder: Path, tmp_path: Path) -> None:
    """Equal latents of equal captions are equal."""
    objective = EnergyDistance(TeacherFeatures(blocks=["mid_block"]))
    module = in_training(Distillation(str(teacher_folder), objective, optimization=FAST), tmp_path)
    clips = batch()
    clips.captions[:] = ["a tone"] * 4
    step, networks = module.step(clips, rng()), module.networks(averaged=False)
    latent = step.clean_latent[:1].expand_as(step.clean_latent)
    [together] = objective.embedding(step, networks, one_for_all=True)(latent)
    torch.testing.assert_close(together, together[:1].expand_as(together), atol=1e-5, rtol=1e-4)
    [alone] = objective.embedding(step, networks, one_for_all=False)(latent)
    assert not torch.allclose(alone, alone[:1].expand_as(alone), atol=1e-2)


def test_a_step_compares_all_rows_at_one_time(teacher_folder: Path, tmp_path: Path) -> None:
    objective = EnergyDistance(TeacherFeatures(blocks=["mid_block"]))
    module = in_training(Distillation(str(teacher_folder), objective, optimization=FAST), tmp_path)
    times: list[Tensor] = []
    module.frozen.teacher.denoiser.register_forward_pre_hook(lambda _module, args: times.append(args[1]))
    objective(module.step(batch(), rng()), module.networks(averaged=False))
    assert len(torch.cat(times)) == 8  # samples and recordings
    assert len(set(torch.cat(times).tolist())) == 1


@pytest.mark.parametrize("pooled", [False, True])
def test_features_are_normalised_tokens_of_noised_latents(pooled: bool, teacher_folder: Path, tmp_path: Path) -> None:
    objective = EnergyDistance(TeacherFeatures(blocks=["mid_block"], time_range=(0.3, 0.4), pooled=pooled))
    module = in_training(Distillation(str(teacher_folder), objective, optimization=FAST), tmp_path)
    seen: list[tuple[Tensor, ...]] = []
    backbone = module.frozen.teacher.denoiser
    backbone.register_forward_pre_hook(lambda _module, args: seen.append(args))
    step, networks = module.step(batch(), rng()), module.networks(averaged=False)
    embed = objective.embedding(step, networks, one_for_all=False)
    [vector], _ = embed(step.clean_latent), embed(torch.zeros_like(step.clean_latent))
    (z_t, t, condition), (noise, *_) = seen
    assert float(t.min()) >= 300
    assert float(t.max()) <= 400
    alpha = module.schedule.alpha(t)[:, None, None, None]
    torch.testing.assert_close(z_t - noise, alpha * step.clean_latent, atol=1e-4, rtol=1e-4)
    [tokens] = DenoiserFeatures(backbone, ["mid_block"])(z_t, t, condition)
    tokens = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    values = tokens.mean(1) if pooled else tokens.flatten(1)
    torch.testing.assert_close(vector, values / values.shape[1] ** 0.5)


@pytest.mark.parametrize("features", [None, TeacherFeatures(blocks=["mid_block"], pooled=True)])
def test_a_run_needs_no_loss_plugin(features: TeacherFeatures | None, teacher_folder: Path, tmp_path: Path) -> None:
    module = Distillation(str(teacher_folder), EnergyDistance(features), optimization=FAST)
    start = deepcopy(module.student.state_dict())
    teacher = deepcopy(module.frozen.teacher.state_dict()) if features else {}
    run = trainer(tmp_path, max_steps=3, limit_val_batches=1, val_check_interval=3)
    run.fit(module, data())
    assert "train/loss/energy" in run.callback_metrics
    assert "val/loss/energy" in run.callback_metrics
    assert any(not torch.equal(start[name], value) for name, value in module.student.state_dict().items())
    state = module.frozen.teacher.state_dict() if features else {}
    assert all(torch.equal(value, state[name]) for name, value in teacher.items())
    assert module.pipeline()(["a tone"], guidance_scale=2.0).queries == 1


def test_a_batch_of_one_row_has_no_pairs() -> None:
    student = AffineStudent(FLOW, MEAN, torch.ones(2).double())
    with pytest.raises(ShapeError, match="1"):
        EnergyDistance()(step_of(0, rows=1), Networks(student))
    assert EnergyDistance()(step_of(0, rows=2), Networks(student)).losses["energy"].shape == (2,)
    step = step_of(0, rows=1)
    step.training = False
    assert EnergyDistance()(step, Networks(student)).losses["energy"].tolist() == [0.0]


def test_a_teacher_is_loaded_for_its_features_alone() -> None:
    assert not EnergyDistance().needs_teacher
    assert EnergyDistance(TeacherFeatures()).needs_teacher


def test_impossible_settings_are_named(teacher_folder: Path) -> None:
    for beta in (0.0, 2.0):
        with pytest.raises(ConfigurationError, match=str(beta)):
            EnergyDistance(beta=beta)
    with pytest.raises(ConfigurationError, match="-1"):
        EnergyDistance(caption_weight=-1)
    with pytest.raises(ConfigurationError, match=re.escape("0.9")):
        TeacherFeatures(time_range=(0.9, 0.1))
    with pytest.raises(ConfigurationError, match="mid_blok"):
        Distillation(str(teacher_folder), EnergyDistance(TeacherFeatures(blocks=["mid_blok"])))


def test_a_collapsed_student_has_finite_gradients() -> None:
    """All samples alike: the distance among them has no slope."""
    student = AffineStudent(FLOW, MEAN, torch.zeros(2).double())
    EnergyDistance()(step_of(0), Networks(student)).losses["energy"].mean().backward()
    assert bool(student.shift.grad.isfinite().all() and student.scale.grad.isfinite().all())
