"""Loudness as the Recommendation has it, and sounds that differ only in what they should."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy import signal
from torch import Tensor

from consistency_tta.listening.loudness import HIGH_PASS, SAMPLE_RATE, SHELF, integrated_loudness, k_weighted
from consistency_tta.listening.sounds import (
    cut_to_shortest,
    lost_to_cutting,
    low_pass,
    lowest_rate,
    match_loudness,
    read,
)
from consistency_tta.runtime.errors import DataError


def tone(hertz: float, seconds: float, rate: int = 48000, amplitude: float = 1.0) -> Tensor:
    return amplitude * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [48000, 16000])
def test_the_reference_tone_has_the_published_loudness(rate: int) -> None:
    # BS.1770-4, Annex 1: 997 Hz at 0 dB of full scale in one channel is -3.01.
    assert integrated_loudness(tone(997, 2, rate), rate) == pytest.approx(-3.01, abs=0.02)
    assert integrated_loudness(tone(997, 2, rate, 0.1), rate) == pytest.approx(-23.01, abs=0.02)


def test_the_filters_are_those_of_scipy() -> None:
    noise = torch.randn(SAMPLE_RATE // 2, dtype=torch.float64)
    reference = signal.lfilter(*HIGH_PASS, signal.lfilter(*SHELF, noise.numpy()))
    np.testing.assert_allclose(k_weighted(noise), reference, atol=1e-9)


def test_silence_does_not_count_and_alone_has_no_loudness() -> None:
    sound = tone(997, 2, amplitude=0.1)
    padded = torch.cat([sound, torch.zeros(6 * SAMPLE_RATE)])
    assert integrated_loudness(padded, SAMPLE_RATE) == pytest.approx(-23.01, abs=0.7)  # of blocks half full
    assert integrated_loudness(torch.zeros(SAMPLE_RATE), SAMPLE_RATE) == -math.inf
    assert math.isfinite(integrated_loudness(sound[:1000], SAMPLE_RATE))


def test_matched_sounds_are_equally_loud_and_do_not_clip() -> None:
    click = torch.zeros(16000)
    click[8000] = 0.3
    sounds = {"noise": 0.01 * torch.randn(16000), "tone": tone(500, 1, 16000), "click": click}
    sounds |= {"silence": torch.zeros(16000)}
    matched = match_loudness(sounds, 16000, -23.0)
    loudness = {name: integrated_loudness(matched[name], 16000) for name in ("noise", "tone", "click")}
    assert max(loudness.values()) - min(loudness.values()) < 0.01
    assert loudness["tone"] < -23.5  # the click has no room for -23
    assert matched["click"].abs().max() == pytest.approx(1, abs=1e-4)
    assert not matched["silence"].any()
    del sounds["click"]
    assert integrated_loudness(match_loudness(sounds, 16000, -23.0)["tone"], 16000) == pytest.approx(-23, abs=0.01)


def test_the_anchor_has_nothing_above_its_cutoff() -> None:
    sound = tone(1000, 1, 16000) + tone(5000, 1, 16000)
    anchor = low_pass(sound, 16000)[2000:14000]
    spectrum = torch.fft.rfft(anchor * torch.hann_window(12000)).abs()
    assert spectrum[750] / 12000 == pytest.approx(0.25, rel=0.01)  # 1000 Hz
    assert spectrum[2700:].max() < 1e-3 * spectrum[750]
    with pytest.raises(DataError, match="7000"):
        low_pass(sound, 7000)


def test_sample_rate_and_length_are_equal(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.wav" for name in ("long", "short")}
    soundfile.write(files["long"], np.full(44100, 0.5), 44100)
    soundfile.write(files["short"], np.full((8000, 2), 0.5), 16000)
    assert lowest_rate(files) == 16000
    sounds = cut_to_shortest(read(files, 16000), 16000)
    assert {name: len(waveform) for name, waveform in sounds.items()} == {"long": 8000, "short": 8000}
    assert abs(sounds["long"][-1]) < 1e-6  # faded out where it was cut
    assert sounds["short"][-1] == pytest.approx(0.5)
    assert len(cut_to_shortest(sounds, 16000, seconds=0.25)["short"]) == 4000


def test_a_cut_of_more_than_half_a_second_is_described() -> None:
    sounds = {"a": torch.zeros(160000), "b": torch.zeros(2500), "c": torch.zeros(80000)}
    assert lost_to_cutting(sounds, 16000) == "0.16 s of b, 10.00 s of a"
    assert lost_to_cutting(sounds, 16000, seconds=2) == "0.16 s of b, 2.00 s of a"
    assert lost_to_cutting(sounds, 16000, seconds=0.6) == ""
    assert lost_to_cutting({"a": torch.zeros(24000), "b": torch.zeros(16000)}, 16000) == ""  # half a second


@pytest.mark.parametrize("look", [lowest_rate, lambda files: read(files, 16000)], ids=["header", "samples"])
def test_a_file_that_cannot_be_used_is_named_with_its_system(
    look: Callable[[dict[str, Path]], object], tmp_path: Path
) -> None:
    files = {name: tmp_path / name / "7100.wav" for name in ("fine", "spoilt")}
    for file in files.values():
        file.parent.mkdir()
        soundfile.write(file, np.zeros(100), 16000)
    soundfile.write(files["spoilt"], np.zeros(0), 16000)
    with pytest.raises(DataError, match=r"spoilt/7100\.wav"):
        look(files)
