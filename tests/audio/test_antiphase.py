"""Channels that cancel are found wherever they do, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from consistency_tta.audio.antiphase import cancelling_report, kept_power

RATE = 1000


def noise(seconds: float = 20, seed: int = 0) -> Tensor:
    return torch.rand(round(seconds * RATE), generator=torch.Generator().manual_seed(seed)) - 0.5


@pytest.mark.parametrize("second", [-1.0, -0.97, -0.5, 0.0, 1.0])
@pytest.mark.parametrize("offset", [0.0, 0.05, -3.0])
def test_the_mean_keeps_a_share_of_the_channels_power(second: float, offset: float) -> None:
    sound = noise()
    share = (1 + second) ** 2 / (2 * (1 + second**2))
    assert kept_power(torch.stack([sound, second * sound]) + offset) == pytest.approx(share, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize(
    "constant",
    [
        torch.zeros(2, 10),
        torch.tensor([[0.1], [-0.1]]).expand(2, 30),
        torch.tensor([[0.1], [-0.1]], dtype=torch.float64).expand(2, 77),  # whose mean is rounded
        torch.ones(2, 1),
    ],
)
def test_what_is_constant_keeps_all(constant: Tensor) -> None:
    assert kept_power(constant) == 1
    assert cancelling_report(constant, RATE) == ""


@pytest.mark.parametrize(("begin", "end"), [(10, 20), (2, 20), (0, 2.5), (17.5, 20), (4, 6)])
def test_a_part_in_antiphase_is_named_with_its_place(begin: float, end: float) -> None:
    sound = noise()
    other = sound.clone()
    other[round(begin * RATE) : round(end * RATE)] *= -0.9
    report = cancelling_report(torch.stack([sound, other]) + 0.05, RATE)
    assert f"for {end - begin:.1f} s of its 20.0 s, from {begin:.1f} s on" in report


@pytest.mark.parametrize("silence", [0, 20])
def test_all_of_a_sound_in_antiphase_is_told_by_its_loss(silence: int) -> None:
    sound = torch.cat([torch.zeros(silence * RATE), noise()])
    assert " 30 dB weaker" in cancelling_report(torch.stack([sound, -0.94 * sound]), RATE)


@pytest.mark.parametrize(
    "channels",
    [
        [noise()],
        [noise(), noise()],
        [noise(), noise(seed=1)],
        [noise(), 0 * noise()],
        [noise(), -0.5 * noise()],
        [torch.cat([noise(19), 0 * noise(1)]), torch.cat([noise(18), -noise()[18 * RATE :]])],
    ],
)
def test_sounds_that_keep_their_power_are_not_named(channels: list[Tensor]) -> None:
    assert cancelling_report(torch.stack(channels), RATE) == ""


def test_quiet_parts_and_short_ones_are_not_named() -> None:
    sound = noise()
    for factor, seconds in ((1e-5, 10), (1.0, 1.0)):
        sound[: round(seconds * RATE)] *= factor
        other = sound.clone()
        other[: round(seconds * RATE)] *= -1
        assert cancelling_report(torch.stack([sound, other]), RATE) == ""
