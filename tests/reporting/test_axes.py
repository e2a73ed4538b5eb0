"""Ticks lie where their values are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.reporting.axes import linear_axis, mel_axes, round_up

FRONT_END = {"f_min": 0.0, "f_max": 8000.0, "n_mels": 64, "hop_length": 160, "sample_rate": 16000}


def test_frequencies_lie_where_a_tone_has_its_energy() -> None:
    front_end = MelSpectrogram()
    for hertz in (500, 1000, 2000, 4000):
        tone = torch.sin(2 * torch.pi * hertz * torch.arange(16000) / 16000)[None]
        mel = front_end(tone)[0, 50].exp()
        near = mel.argmax() + torch.arange(-2, 3)
        energy = float((mel[near] * (near + 0.5)).sum() / mel[near].sum()) / 64
        assert mel_axes(front_end.config, 100, [hertz]).y[0][0] == pytest.approx(energy, abs=0.5 / 64)


@pytest.mark.parametrize(
    ("frames", "texts", "last"),
    [(512, ["0 s", "1", "2", "3", "4", "5"], 5 / 5.12), (64, ["0 s", "0.25", "0.5"], 0.5 / 0.64)],
)
def test_seconds(frames: int, texts: list[str], last: float) -> None:
    ticks = mel_axes(FRONT_END, frames).x
    assert [text for _, text in ticks] == texts
    assert ticks[-1][0] == pytest.approx(last)


def test_frequencies_above_the_front_ends_range_have_no_tick() -> None:
    axes = mel_axes(FRONT_END | {"f_max": 1500.0, "n_mels": 16}, 100)
    assert [text for _, text in axes.y] == ["500 Hz", "1k"]


@pytest.mark.parametrize("values", [[0.31, 0.52], [-1.0, 1.0], [3.0, 3.0], [0.0, 170.0]])
def test_a_linear_axis_has_all_values_between_round_ticks(values: list[float]) -> None:
    positions, ticks = linear_axis(np.array(values))
    places, numbers = [place for place, _ in ticks], [float(text) for _, text in ticks]
    assert (places[0], places[-1]) == pytest.approx((0, 1))
    assert len(ticks) <= 7
    np.testing.assert_allclose(np.interp(positions, places, numbers), values, atol=1e-9)


def test_round_numbers() -> None:
    assert [round_up(value) for value in (0.011, 2.0, 7.0, 99.0)] == pytest.approx([0.012, 2.0, 8.0, 100.0])
