"""The anchor: its gradient in closed form, and what it leaves of diversity against a reward that has one optimum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from consistency_tta.contracts import Batch, Conditioning, DistillationOutput, Loss, Networks, Step, TextEmbedding
from consistency_tta.diffusion.schedules import RectifiedFlowSchedule
from consistency_tta.training import Anchor, CombinedObjective, ConsistencyDistillation
from tests.training.runs import batch, data, distil, equal, rng, trainer

SLOPE, OFFSET = 1.5, -0.3


class Affine(nn.Module):
    """One query makes slope * noise + offset."""

    def __init__(self, slope: float, offset: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))
        self.offset = nn.Parameter(torch.tensor(offset, dtype=torch.float64))

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        return self.slope * z_t + self.offset


class AffineFlow(Affine):
    """The same as a flow map, whose query to the end it is."""

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor) -> Tensor:  # type: ignore[override]
        assert torch.equal(s, torch.zeros_like(t))
        return super().forward(z_t, t, conditioning)


class Draws:
    """Noise that the test knows."""

    def __init__(self, noise: Tensor) -> None:
        self.noise = noise

    def normal_like(self, example: Tensor) -> Tensor:
        return self.noise


def step(noise: Tensor, active: set[str]) -> Step:
    schedule, rows = RectifiedFlowSchedule(), len(noise)
    text = TextEmbedding(torch.zeros(rows, 1, 1), torch.ones(rows, 1, dtype=torch.bool))
    batch = Batch(["a"] * rows, ["a"] * rows)
    condition: Any = lambda: Conditioning(text, torch.ones(rows))  # noqa: E731
    clean = torch.zeros_like(noise)
    draws: Any = Draws(noise)
    return Step(batch, clean, schedule, draws, 0, True, frozenset(active), condition, lambda z_0, e, t: e)


def anchored(student: Affine) -> Anchor:
    objective = Anchor()
    networks: Any = Networks(Affine(SLOPE, OFFSET))  # type: ignore[arg-type]
    objective.build(networks, RectifiedFlowSchedule())
    return objective


def test_distance_and_gradient_are_the_closed_form() -> None:
    """Of mean ((a - a_0) e + b - b_0)^2: 2 mean (e d) and 2 mean d, with d the difference."""
    noise, student = torch.randn(6, 2, 3, dtype=torch.float64), Affine(0.7, 0.4)
    prediction = anchored(student)(step(noise, {"student"}), Networks(student))  # type: ignore[arg-type]
    difference = (0.7 - SLOPE) * noise + (0.4 - OFFSET)
    torch.testing.assert_close(prediction.losses["distance"], difference.square().mean((1, 2)))
    prediction.losses["distance"].mean().backward()
    torch.testing.assert_close(student.slope.grad, 2 * (noise * difference).mean())
    torch.testing.assert_close(student.offset.grad, 2 * difference.mean())
    same = Affine(SLOPE, OFFSET)
    equal_to_start = anchored(same)(step(noise, {"student"}), Networks(same))  # type: ignore[arg-type]
    assert equal_to_start.losses["distance"].abs().max() == 0


@pytest.mark.parametrize("weight", [0.0, 0.25, 4.0])
def test_a_reward_with_one_optimum_leaves_a_known_share_of_the_spread(weight: float) -> None:
    """(x - m)^2 + weight (x - x_0)^2 is least at (m + weight x_0) / (1 + weight): all at m without the anchor."""
    optimum, noise = 2.0, torch.randn(50, 4, dtype=torch.float64)
    student = Affine(1.0, 0.0)
    objective, descent = anchored(student), torch.optim.LBFGS(student.parameters(), line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        descent.zero_grad()
        prediction = objective(step(noise, {"student"}), Networks(student))  # type: ignore[arg-type]
        assert prediction.student_latent is not None
        total = (prediction.student_latent - optimum).square().mean() + weight * prediction.losses["distance"].mean()
        total.backward()
        return total

    descent.step(loss)
    assert student.slope.item() == pytest.approx(SLOPE * weight / (1 + weight), abs=1e-6)
    assert student.offset.item() == pytest.approx((optimum + weight * OFFSET) / (1 + weight), abs=1e-6)


def test_a_step_that_does_not_update_the_student_has_no_gradient() -> None:
    student = Affine(0.7, 0.4)
    prediction = anchored(student)(step(torch.randn(2, 3, dtype=torch.float64), {"fake"}), Networks(student))  # type: ignore[arg-type]
    assert prediction.student_latent is None
    assert not prediction.losses["distance"].requires_grad


def test_a_flow_map_and_its_start_are_queried_to_the_end() -> None:
    objective, start, student = Anchor(), AffineFlow(SLOPE, OFFSET), AffineFlow(SLOPE, OFFSET + 2)
    objective.build(Networks(start), RectifiedFlowSchedule())  # type: ignore[arg-type]
    given = step(torch.randn(2, 3, dtype=torch.float64), {"student"})
    given.flow_map = True
    distance = objective(given, Networks(student)).losses["distance"]  # type: ignore[arg-type]
    torch.testing.assert_close(distance, torch.full((2,), 4.0, dtype=torch.float64))


class Loud(Loss):
    """Rewards latents of great value."""

    noise_weighted = False

    def forward(self, out: DistillationOutput) -> Tensor:
        return -out.student_latent.flatten(1).mean(1)


def test_the_start_stays_as_it_was_and_is_in_no_checkpoint(teacher_folder: Path, tmp_path: Path) -> None:
    module = distil(Anchor, teacher_folder, losses={"loud": Loud()})
    start = {name: value.clone() for name, value in module.student.state_dict().items()}
    run = trainer(tmp_path, max_steps=3)
    run.fit(module, data())
    assert equal(module.objective.frozen.start.state_dict(), start)
    assert not equal(dict(module.student.state_dict()), start)
    assert not any(name.startswith("objective.") for name in module.state_dict())
    assert float(run.logged_metrics["train/loss/distance"]) > 0
    assert module.frozen.held.get("teacher") is None


def test_with_consistency_it_adds_its_distance_alone(teacher_folder: Path, tmp_path: Path) -> None:
    def objective() -> CombinedObjective:
        parts = {"consistency": ConsistencyDistillation(teacher_steps=0), "anchor": Anchor()}
        return CombinedObjective(parts, {"anchor": 0.5})

    module = distil(objective, teacher_folder)  # type: ignore[arg-type]  # called as the class is
    module.trainer = trainer(tmp_path)
    module.trainer.training = True
    logged: dict[str, Tensor] = {}
    module.log_losses = lambda losses, batch_size: logged.update(losses)  # type: ignore[method-assign]
    with torch.no_grad():
        module.student.unet.conv_out.bias += 0.1
    loss = module.loss(batch(), rng())
    assert float(logged["loss/anchor/distance"]) > 0
    torch.testing.assert_close(loss, logged["loss/latent"] + logged["loss/anchor/distance"])
