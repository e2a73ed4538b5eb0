"""A discriminator and a generator in one step: each learns by its own loss alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from consistency_tta.training.codec.adversary import Adversary
from tests.training.runs import adversary, data, trainer, vocoder


def test_gradients_are_those_of_two_separate_steps() -> None:
    torch.manual_seed(0)
    judge, real, made = adversary(feature_weight=0.0), torch.randn(3, 1024), torch.randn(3, 1024, requires_grad=True)
    judge(made, real)["loss"].backward()
    together = [made.grad.clone(), *(parameter.grad.clone() for parameter in judge.parameters())]

    made.grad = None
    judge.zero_grad()
    verdicts = [(judge.discriminator(real)[k][-1], judge.discriminator(made.detach())[k][-1]) for k in range(2)]
    (sum(F.relu(1 - r).mean() + F.relu(1 + m).mean() for r, m in verdicts) / 2).backward()
    (generator,) = torch.autograd.grad(-sum(judge.discriminator(made)[k][-1].mean() for k in range(2)) / 2, made)
    for ours, expected in zip(together, [generator, *(p.grad for p in judge.parameters())], strict=True):
        torch.testing.assert_close(ours, expected)


def test_feature_matching_is_relative_and_nothing_for_the_recording_itself() -> None:
    torch.manual_seed(0)
    real = torch.randn(2, 1024)
    judge = adversary()
    assert judge(real.clone(), real)["feature"].item() == pytest.approx(0, abs=1e-6)
    scaled = adversary()
    scaled.load_state_dict(judge.state_dict())
    # Weight normalisation keeps a layer's size in `original0`, its direction in `original1`.
    for stack in scaled.discriminator.stacks:
        stack[-2].parametrizations.weight.original0.data *= 10
        stack[-2].bias.data *= 10
    made = torch.randn(2, 1024)
    assert scaled(made, real)["feature"].item() == pytest.approx(judge(made, real)["feature"].item(), rel=1e-4)


def test_it_learns_to_tell_noise_from_tones() -> None:
    torch.manual_seed(0)
    judge = adversary()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=3e-3)
    tones = torch.sin(torch.arange(1024) * torch.linspace(0.1, 2.0, 8)[:, None])
    losses = []
    for _ in range(40):
        parts = judge(0.7 * torch.randn(8, 1024), tones)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        losses.append(parts["discriminator"].item())
    assert losses[0] == pytest.approx(2, abs=0.3)
    assert losses[-1] < 0.5


def test_a_vocoder_trains_against_it(teacher_folder: Path, tmp_path: Path) -> None:
    judge = adversary()
    module = vocoder(teacher_folder, adversary=judge, ema_decay=0.5)
    before = [parameter.clone() for parameter in judge.parameters()]
    fitting = trainer(tmp_path, max_steps=3)
    fitting.fit(module, data())
    assert {"train/adversarial", "train/feature", "train/discriminator"} <= set(fitting.logged_metrics)
    assert all(not torch.equal(old, new) for old, new in zip(before, judge.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in judge.parameters())
    # Neither in the average nor in the model that is left behind.
    assert not any(isinstance(part, Adversary) for part in module.average.modules())
    assert isinstance(module.pipeline().vocoder, nn.Module)
