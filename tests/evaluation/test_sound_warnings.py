"""Generated sounds that are copies are warned of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from consistency_tta.evaluation.clips import Pair
from consistency_tta.evaluation.protocol import AudioSettings
from consistency_tta.evaluation.sound_warnings import sound_warnings

RATE = 16000


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    """Four pairs of different noises."""
    found = []
    for k in range(4):
        paths = [tmp_path / f"{side}{k}.wav" for side in ("generated", "reference")]
        for j, path in enumerate(paths):
            soundfile.write(path, np.random.default_rng(2 * k + j).uniform(-0.5, 0.5, RATE), RATE)
        found.append(Pair(f"clip{k}", "Noise", *paths))
    return found


def warned(pairs: list[Pair]) -> list[str]:
    return sound_warnings(pairs, AudioSettings(RATE, "", 1.0))


def test_different_sounds_give_no_warning(pairs: list[Pair]) -> None:
    assert warned(pairs) == []


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_a_reference_among_the_generated_is_warned_of(extension: str, pairs: list[Pair], tmp_path: Path) -> None:
    tone = 0.3 * np.sin(np.arange(RATE) * 0.2)
    soundfile.write(pairs[1].reference, tone, RATE)
    copy = tmp_path / f"copy.{extension}"
    soundfile.write(copy, tone, RATE)
    (warning,) = warned([pairs[0], Pair("clip1", "Noise", copy, pairs[1].reference)])
    assert "1 of 2" in warning
    assert "clip1" in warning


def test_one_sound_for_two_clips_is_warned_of(pairs: list[Pair]) -> None:
    pairs[2].generated.write_bytes(pairs[0].generated.read_bytes())
    (warning,) = warned(pairs)
    assert "clip0 = clip2" in warning


def test_another_clips_reference_is_warned_of(pairs: list[Pair]) -> None:
    pairs[3].generated.write_bytes(pairs[1].reference.read_bytes())
    (warning,) = warned(pairs)
    assert "clip3 is clip1's" in warning


def test_long_sounds_are_cut_with_a_warning(pairs: list[Pair]) -> None:
    soundfile.write(pairs[2].reference, np.random.default_rng(9).uniform(-0.5, 0.5, 2 * RATE), RATE)
    (warning,) = warned(pairs)
    assert "1 reference sounds" in warning
    assert "clip2" in warning


def test_silence_is_no_copy_of_silence(pairs: list[Pair]) -> None:
    for path in (pairs[0].generated, pairs[0].reference):
        soundfile.write(path, np.zeros(RATE), RATE)
    assert warned(pairs[:2]) == []
