"""Adversarial distillation: who learns what from whom, and where a game of Gaussians ends."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from consistency_tta.contracts import Networks, Optimization, TextEmbedding
from consistency_tta.diffusion.schedules import NoiseSchedule
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import AdversarialDistillation, Distillation
from tests.diffusion.conftest import SCHEDULES
from tests.training.distillation.objectives.steps import AffineStudent, conditioning, gaussian_step
from tests.training.distillation.objectives.test_latents import KnownNoise
from tests.training.runs import FAST, batch, data, in_training, query_sizes, rng, trainer

PLAYERS = {"discriminator", "student"}


class Polynomial(nn.Module):
    """Logits of tokens: linear in the channels and their squares, so that it sees means and variances."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * channels, 1).double()

    def forward(self, features: list[Tensor], text: object) -> list[Tensor]:
        """(B, N) of each block."""
        return [self.linear(torch.cat([tokens, tokens**2], dim=-1))[..., 0] for tokens in features]


class Identity(AdversarialDistillation):
    """Scores the latents themselves."""

    def features(self, networks: Networks) -> Any:
        """Latents (B, C, *) as tokens."""
        return lambda z_t, t, conditioning: [z_t.flatten(2).transpose(1, 2)]


def game(schedule: NoiseSchedule, loss: str, steps: int) -> AffineStudent:
    """A student of one mean and one scale against a discriminator that sees both."""
    objective = Identity(loss=loss, time_range=(0.05, 0.3))
    objective.discriminator = Polynomial(2)
    student = AffineStudent(schedule, torch.tensor([1.0, 0.5]).double(), torch.ones(2).double())
    ours = torch.optim.Adam(student.parameters(), lr=0.02, betas=(0.0, 0.9))
    theirs = torch.optim.Adam(objective.discriminator.parameters(), lr=0.05, betas=(0.0, 0.9), weight_decay=0.1)
    averages = []
    for number in range(steps):
        for optimizer in (ours, theirs):
            for group in optimizer.param_groups:
                group["lr"] *= 0.997
        generator = torch.Generator().manual_seed(number)
        z_0 = MEAN[None, :, None] + 0.5 * torch.randn(128, 2, 8, dtype=torch.float64, generator=generator)
        step = gaussian_step(schedule, z_0, conditioning(MEAN, 128), number, active=frozenset(PLAYERS))
        losses = objective(step, Networks(student)).losses
        ours.zero_grad()
        theirs.zero_grad()
        sum(value.mean() for value in losses.values()).backward()
        ours.step()
        theirs.step()
        averages.append([student.shift.detach().clone(), student.scale.detach().clone()])
    last = averages[steps // 2 :]
    student.shift.data = torch.stack([shift for shift, _ in last]).mean(0)
    student.scale.data = torch.stack([scale for _, scale in last]).mean(0)
    return student


MEAN = torch.tensor([0.3, -0.6], dtype=torch.float64)


@pytest.mark.parametrize("loss", ["hinge", "relativistic"])
def test_the_student_ends_at_the_recordings_mean_and_deviation(loss: str) -> None:
    schedule = SCHEDULES["rectified_flow"]().double()
    student = game(schedule, loss, steps=500)
    torch.testing.assert_close(student.shift.data, MEAN, atol=0.1, rtol=0)
    torch.testing.assert_close(student.scale.data.abs(), torch.full((2,), 0.5).double(), atol=0.1, rtol=0)


def gradients(module: Distillation, **fields: Any) -> dict[str, dict[str, bool]]:
    """For each loss, which networks have a gradient that is not zero."""
    found: dict[str, dict[str, bool]] = {}
    names = [*module.objective(module.step(batch(), rng()), module.networks(averaged=False)).losses]
    for name in names:
        module.zero_grad()
        losses = module.objective(module.step(batch(), rng()), module.networks(averaged=False)).losses
        losses[name].sum().backward()
        networks = {"student": module.student, "discriminator": module.objective.discriminator}
        networks["teacher"] = module.frozen.teacher
        found[name] = {
            key: any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())
            for key, network in networks.items()
        }
    return found


@pytest.mark.parametrize("loss", ["hinge", "relativistic"])
def test_each_player_is_a_constant_to_the_other(loss: str, teacher_folder: Path, tmp_path: Path) -> None:
    objective = AdversarialDistillation(loss=loss, contrastive_weight=1.0, penalty_weight=1.0)
    module = in_training(Distillation(str(teacher_folder), objective, optimization=FAST), tmp_path)
    found = gradients(module)
    theirs = {"student": False, "discriminator": True, "teacher": False}
    assert found.pop("adversarial") == {"student": True, "discriminator": False, "teacher": False}
    assert found == {"discriminator": theirs, "contrastive": theirs, "penalty": theirs}


def test_the_student_climbs_what_the_discriminator_scores(teacher_folder: Path, tmp_path: Path) -> None:
    """A small step against its gradient raises the score of its samples."""
    objective = AdversarialDistillation(loss="hinge")
    module = in_training(Distillation(str(teacher_folder), objective, optimization=FAST), tmp_path)
    networks = module.networks(averaged=False)

    def loss() -> Tensor:
        return objective(module.step(batch(), rng()), networks).losses["adversarial"].mean()

    before = loss()
    before.backward()
    with torch.no_grad():
        for parameter in module.student.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad / (parameter.grad.norm() + 1e-12)
    assert loss() < before


def test_contrast_is_to_the_captions_of_others(teacher_folder: Path, tmp_path: Path) -> None:
    """Where all captions are the same, right and wrong ones score alike: log 2."""
    objective = AdversarialDistillation(contrastive_weight=1.0)
    module = in_training(Distillation(str(teacher_folder), objective, optimization=FAST), tmp_path)
    for captions, same in ((["a tone"] * 4, True), (["a tone", "noise", "a click", "two tones"], False)):
        data_batch = batch()
        data_batch.captions[:] = captions
        losses = objective(module.step(data_batch, rng()), module.networks(averaged=False)).losses
        is_log_2 = torch.allclose(losses["contrastive"], torch.full((4,), 2.0).log(), atol=1e-6)
        assert is_log_2 == same


@pytest.mark.parametrize("rows", [2, 3])
def test_no_caption_is_contrasted_with_itself(rows: int) -> None:
    captions = torch.arange(rows).double()[:, None, None]
    condition = conditioning(torch.ones(1).double(), rows)
    condition.text.embedding = captions
    step = gaussian_step(SCHEDULES["rectified_flow"]().double(), captions, condition)
    [(real, other)] = AdversarialDistillation(contrastive_weight=1.0).further(step, captions)
    assert torch.equal(real, captions)
    assert sorted(other.text.embedding.flatten().tolist()) == captions.flatten().tolist()
    assert not (other.text.embedding == captions).any()


class KnownScores(nn.Module):
    """Logits of ``slope`` times each value of a latent, and ``right`` more if the caption is its own."""

    def __init__(self, own: TextEmbedding, slope: float = 0.0, right: float = 0.0) -> None:
        super().__init__()
        self.own, self.slope, self.right = own, slope, right

    def forward(self, features: list[Tensor], text: TextEmbedding) -> list[Tensor]:
        """One block, a token for each value."""
        return [self.slope * one.flatten(1) + self.right * (text is self.own) for one in features]


@pytest.mark.parametrize("loss", ["hinge", "relativistic"])
def test_recordings_and_samples_are_noised_alike(loss: str) -> None:
    """Recordings of 3 and samples of -2 at t = 200 of a rectified flow, scored by their mean less 20 of noise."""
    schedule, condition = SCHEDULES["rectified_flow"]().double(), conditioning(torch.ones(2).double(), 4)
    objective = Identity(loss=loss, time_range=(0.2, 0.2))
    objective.discriminator = known = KnownScores(condition.text, slope=1.0)  # type: ignore[assignment]
    known.right = -20.0
    student = AffineStudent(schedule, torch.full((2,), -2.0).double(), torch.zeros(2).double())
    draws = KnownNoise(0, 0, 0, torch.device("cpu"))
    step = gaussian_step(schedule, torch.full((4, 2, 8), 3.0).double(), condition, rng=draws)
    step.active = frozenset(PLAYERS)
    losses = objective(step, Networks(student)).losses
    real, made = 0.8 * 3, 0.8 * -2
    theirs, ours = math.log1p(math.exp(made - real)), math.log1p(math.exp(real - made))
    if loss == "hinge":
        theirs, ours = max(1 - real, 0) + max(1 + made, 0), -made
    torch.testing.assert_close(losses["discriminator"], torch.full((4,), theirs).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(losses["adversarial"], torch.full((4,), ours).double(), atol=1e-4, rtol=0)


def scored(objective: Identity, **known: float) -> dict[str, Tensor]:
    """The losses (64,) where the discriminator's scores are known."""
    schedule = SCHEDULES["rectified_flow"]().double()
    one = torch.ones(2).double()
    condition = conditioning(one, 64)
    objective.discriminator = KnownScores(condition.text, **known)  # type: ignore[assignment]
    step = gaussian_step(schedule, torch.zeros(64, 2, 8).double(), condition, active=frozenset(PLAYERS))
    return objective(step, Networks(AffineStudent(schedule, one, one))).losses


@pytest.mark.parametrize("loss", ["hinge", "relativistic"])
def test_blocks_count_alike_whatever_their_tokens(loss: str) -> None:
    """The definition, row by row, of two blocks with four tokens and with two."""
    real, made = ([torch.randn(3, 4), torch.randn(3, 2)] for _ in range(2))
    discriminate, deceive = AdversarialDistillation(loss=loss).players

    def expected(row: int) -> tuple[Tensor, Tensor]:
        pairs = [(a[row], b[row]) for a, b in zip(real, made, strict=True)]
        if loss == "hinge":
            theirs = [(1 - a).clamp(min=0).mean() + (1 + b).clamp(min=0).mean() for a, b in pairs]
            ours = [-b.mean() for _, b in pairs]
        else:
            theirs = [(1 + (b.mean() - a.mean()).exp()).log() for a, b in pairs]
            ours = [(1 + (a.mean() - b.mean()).exp()).log() for a, b in pairs]
        return sum(theirs) / 2, sum(ours) / 2

    theirs, ours = zip(*(expected(row) for row in range(3)), strict=True)
    torch.testing.assert_close(discriminate(real, made), torch.stack(theirs))
    torch.testing.assert_close(deceive(real, made), torch.stack(ours))


@pytest.mark.parametrize("right", [2.0, -2.0])
def test_the_contrast_rewards_higher_scores_of_right_captions(right: float) -> None:
    losses = scored(Identity(contrastive_weight=0.5), right=right)
    torch.testing.assert_close(losses["contrastive"], torch.full((64,), 0.5 * math.log1p(math.exp(-right))).double())


def test_the_penalty_is_the_squared_slope() -> None:
    """Noise of variance v changes scores by slope^2 v in the mean square."""
    losses = scored(Identity(penalty_weight=0.3), slope=5.0)
    assert losses["penalty"].shape == (64,)
    assert float(losses["penalty"].mean()) == pytest.approx(0.3 * 25, rel=0.15)


@pytest.mark.parametrize("options", [{}, {"contrastive_weight": 1.0}, {"penalty_weight": 1.0}])
def test_the_teachers_passes(options: dict[str, float], teacher_folder: Path, tmp_path: Path) -> None:
    """Recordings and samples for the discriminator, samples again for the student; each further term is one more."""
    objective = AdversarialDistillation(**options)
    module = in_training(Distillation(str(teacher_folder), objective, optimization=FAST), tmp_path)
    sizes = query_sizes(module.frozen.teacher.denoiser)
    module.loss(batch(), rng())
    assert sum(sizes) == 4 * (3 + len(options))
    sizes.clear()
    step = module.step(batch(), rng())
    step.active = frozenset({"discriminator"})
    losses = objective(step, module.networks(averaged=False)).losses
    assert "adversarial" not in losses
    assert sum(sizes) == 4 * (2 + len(options))


def test_a_run_trains_both_and_exports_a_student(teacher_folder: Path, tmp_path: Path) -> None:
    objective = AdversarialDistillation(Optimization(learning_rate=1e-3), warmup_steps=1, discriminator_steps=2)
    module = Distillation(str(teacher_folder), objective, optimization=FAST)
    start = deepcopy(module.state_dict())
    run = trainer(tmp_path, max_steps=3)
    run.fit(module, data())
    assert {"train/loss/discriminator", "train/loss/adversarial"} <= run.callback_metrics.keys()
    moved = {name for name, value in module.state_dict().items() if not torch.equal(value, start[name])}
    assert {name.split(".")[0] for name in moved} == {"student", "average", "objective"}
    assert module.pipeline()(["a tone"], guidance_scale=2.0).queries == 1


def test_wrong_settings_are_named(teacher_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="wasserstein"):
        AdversarialDistillation(loss="wasserstein")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="0"):
        AdversarialDistillation(discriminator_steps=0)
    with pytest.raises(ConfigurationError, match="mid_blok"):
        Distillation(str(teacher_folder), AdversarialDistillation(blocks=["mid_blok"]))


@pytest.mark.parametrize("step", range(6))
def test_who_learns_when(step: int) -> None:
    objective = AdversarialDistillation(warmup_steps=2, discriminator_steps=2)
    assert ("student" in objective.active(step)) == (step in (3, 5))
    assert "discriminator" in objective.active(step)
