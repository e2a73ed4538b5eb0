"""A discriminator and a generator in one step: each learns by its own loss alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from consistency_tta.components.discriminator import PatchDiscriminator
from consistency_tta.contracts import Optimization
from consistency_tta.losses import AdversarialLoss, MelL1Loss
from consistency_tta.runtime.errors import ConfigurationError
from tests.training.runs import adversary, data, trainer, vocoder


def of_mels(**options: Any) -> AdversarialLoss:
    return AdversarialLoss(PatchDiscriminator(channels=4, num_layers=1), of="mel", **options)


def score(loss: AdversarialLoss, made: Tensor, real: Tensor) -> dict[str, Tensor]:
    """The loss, which is the same for every example, and its parts; it is given nothing but what it scores."""
    values = loss(cast(Any, SimpleNamespace(**{f"student_{loss.of}": made, f"target_{loss.of}": real})))
    assert values.shape == (len(made),)
    assert torch.equal(values, values[:1].expand(len(made)))
    return {"loss": values.mean(), **loss.scalars()}


@pytest.mark.parametrize(("make", "shape"), [(adversary, (3, 1024)), (of_mels, (3, 16, 8))], ids=["waveform", "mel"])
def test_gradients_are_those_of_two_separate_steps(
    make: Callable[..., AdversarialLoss], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    loss, real, made = make(feature_weight=0.0), torch.randn(shape), torch.randn(shape, requires_grad=True)
    score(loss, made, real)["loss"].backward()
    together = [made.grad.clone(), *(parameter.grad.clone() for parameter in loss.parameters())]

    made.grad = None
    loss.zero_grad()
    logits = [(r[-1], m[-1]) for r, m in zip(loss.discriminator(real), loss.discriminator(made.detach()), strict=True)]
    (sum(F.relu(1 - r).mean() + F.relu(1 + m).mean() for r, m in logits) / len(logits)).backward()
    (generator,) = torch.autograd.grad(-sum(m[-1].mean() for m in loss.discriminator(made)) / len(logits), made)
    for ours, expected in zip(together, [generator, *(p.grad for p in loss.parameters())], strict=True):
        torch.testing.assert_close(ours, expected)


def test_feature_matching_is_relative_and_nothing_for_the_recording_itself() -> None:
    torch.manual_seed(0)
    real = torch.randn(2, 1024)
    loss = adversary()
    assert score(loss, real.clone(), real)["feature"].item() == pytest.approx(0, abs=1e-6)
    scaled = adversary()
    scaled.load_state_dict(loss.state_dict())
    # Weight normalisation keeps a layer's size in `original0`, its direction in `original1`.
    for stack in scaled.discriminator.stacks:
        stack[-2].parametrizations.weight.original0.data *= 10
        stack[-2].bias.data *= 10
    made = torch.randn(2, 1024)
    expected = score(loss, made, real)["feature"].item()
    assert score(scaled, made, real)["feature"].item() == pytest.approx(expected, rel=1e-4)


def test_feature_matching_teaches_the_generator_alone() -> None:
    torch.manual_seed(0)
    loss, real, made = adversary(), torch.randn(2, 1024), torch.randn(2, 1024)
    gradients = []
    for loss.feature_weight in (0.0, 9.0):
        loss.zero_grad()
        score(loss, made, real)["loss"].backward()
        gradients.append([parameter.grad.clone() for parameter in loss.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


class Activations(nn.Module):
    """Two activations, of which one hardly is any, and logits."""

    def forward(self, sound: Tensor) -> list[list[Tensor]]:
        return [[sound, 1e-5 * sound, 3 * sound]]


def test_activations_are_compared_by_their_size_but_not_below_a_floor_and_logits_are_not() -> None:
    real, made = torch.randn(2, 2, 64)
    distance = (made - real).abs().mean()
    expected = (distance / real.abs().mean() + 1e-5 * distance / 1e-3) / 2
    parts = score(AdversarialLoss(Activations(), 3.0, 5.0), made.requires_grad_(), real)
    assert not any(parts[name].requires_grad for name in ("adversarial", "feature", "discriminator"))
    torch.testing.assert_close(parts["feature"], expected)
    hinge = (1 - 3 * real).clamp_min(0).mean() + (1 + 3 * made.detach()).clamp_min(0).mean()
    torch.testing.assert_close(parts["discriminator"], hinge)
    torch.testing.assert_close(parts["loss"], parts["discriminator"] + 3 * parts["adversarial"] + 5 * expected)


def test_it_learns_to_tell_noise_from_tones() -> None:
    torch.manual_seed(0)
    loss = adversary()
    optimizer = torch.optim.AdamW(loss.parameters(), lr=3e-3)
    tones = torch.sin(torch.arange(1024) * torch.linspace(0.1, 2.0, 8)[:, None])
    values = []
    for _ in range(40):
        parts = score(loss, 0.7 * torch.randn(8, 1024), tones)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        values.append(parts["discriminator"].item())
    assert values[0] == pytest.approx(2, abs=0.3)
    assert values[-1] < 0.5


def test_mels_learn_the_texture_of_the_recordings() -> None:
    """A flat mel, which a distance to random ones prefers, gets their deviation from the adversary."""
    torch.manual_seed(0)
    loss = of_mels(feature_weight=0.0)
    deviation = torch.full((1,), 0.1, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": loss.parameters(), "lr": 3e-3}, {"params": [deviation], "lr": 0.03}])
    for _ in range(120):
        real, noise = 2 * torch.randn(2, 16, 16, 16) - 5
        optimizer.zero_grad()
        score(loss, deviation * (noise + 5) / 2 - 5, real)["loss"].backward()
        optimizer.step()
    assert deviation.item() > 1


def test_a_vocoder_trains_against_it(teacher_folder: Path, tmp_path: Path) -> None:
    loss = adversary()
    module = vocoder(teacher_folder, losses={"mel": MelL1Loss(), "adversary": loss}, ema_decay=0.5)
    before = {name: parameter.clone() for name, parameter in loss.named_parameters()}
    fitting = trainer(tmp_path, max_steps=3)
    fitting.fit(module, data())
    parts = {f"train/loss/adversary/{part}" for part in ("adversarial", "feature", "discriminator")}
    assert parts <= set(fitting.logged_metrics)
    still = {name for name, parameter in loss.named_parameters() if torch.equal(parameter, before[name])}
    # Inside the hinge's margins both sides pull at a last bias with equal force, but for rounding.
    assert len(still) <= 2
    assert all(name.endswith("bias") for name in still)
    assert all(parameter.requires_grad for parameter in loss.parameters())
    # Neither in the average nor in the model that is left behind.
    assert not any(isinstance(part, AdversarialLoss) for part in module.average.modules())
    assert isinstance(module.pipeline().vocoder, nn.Module)


def test_the_discriminator_has_its_settings() -> None:
    settings = Optimization(learning_rate=1e-3)
    assert adversary(optimizer=settings).optimization() is settings
    assert adversary().optimization() is None


def test_what_it_scores_is_named() -> None:
    with pytest.raises(ConfigurationError, match="latent"):
        adversary(of="latent")
