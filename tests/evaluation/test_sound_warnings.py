"""Copies, silence and distortion among generated sounds are warned of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation.clip_embeddings import Material, collect
from consistency_tta.evaluation.clips import Pair
from consistency_tta.evaluation.copies import copies_among, descriptor
from consistency_tta.evaluation.protocol import AudioSettings
from consistency_tta.evaluation.sound_warnings import sound_warnings
from consistency_tta.evaluation.variety import variety_warnings

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


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, RATE)


@pytest.mark.parametrize(
    "change",
    [
        lambda sound: 0.3 * sound,
        lambda sound: -sound,
        lambda sound: np.roll(sound, 25),
        lambda sound: sound + 0.02 * noise(99),
        lambda sound: np.where(np.arange(RATE) < RATE // 2, sound, noise(99)),
    ],
    ids=["quieter", "inverted", "later", "noisier", "half"],
)
def test_changed_copies_of_references_are_warned_of(change, pairs: list[Pair]) -> None:  # type: ignore[no-untyped-def]
    soundfile.write(pairs[1].generated, change(soundfile.read(pairs[1].reference)[0]), RATE)
    (warning,) = warned(pairs)
    assert "1 of 4" in warning
    assert "clip1" in warning


@pytest.mark.parametrize("change", [lambda k: 1 / (1 + k), lambda k: (-1) ** k], ids=["gains", "signs"])
def test_one_sound_in_variations_is_warned_of(change, pairs: list[Pair]) -> None:  # type: ignore[no-untyped-def]
    for k, pair in enumerate(pairs):
        sound = np.roll(change(k) * noise(50 + k % 2), 9 * k) + 0.01 * noise(60 + k)
        soundfile.write(pair.generated, sound, RATE)
    (warning,) = warned(pairs)
    assert "clip0 = clip2, clip1 = clip3" in warning


@pytest.mark.parametrize(
    ("sound", "word"),
    [
        (np.clip(9 * noise(9), -1, 1), "clipped"),
        (5e-4 * noise(9), "-50 dBFS"),
        (2.0**15 * noise(9), "full scale"),
        (noise(9)[: RATE // 2], "1 s"),
    ],
    ids=["clipped", "quiet", "integers", "short"],
)
def test_odd_sounds_are_warned_of(sound: np.ndarray, word: str, pairs: list[Pair]) -> None:
    soundfile.write(pairs[3].generated, sound, RATE, subtype="FLOAT")
    (warning,) = warned(pairs)
    assert "clip3" in warning
    assert word in warning


def test_pure_tones_of_different_pitch_are_different() -> None:
    phases = 2 * torch.pi * torch.arange(RATE) / RATE
    tones = torch.stack([descriptor(torch.sin((100 + k) * phases)) for k in range(60)])
    assert copies_among(tones, tones) == [[k] for k in range(60)]


def test_sounds_that_hardly_vary_are_warned_of() -> None:
    vectors = torch.randn(8, 1, 4, generator=torch.Generator().manual_seed(0))

    def warnings_of(spread: float) -> list[str]:
        sides = AudioEmbedding(1 + spread * vectors), AudioEmbedding(vectors.flip(0))
        return variety_warnings({"toy": collect(Material(*sides, None, torch.arange(8)))})

    assert warnings_of(0.8) == []
    (warning,) = warnings_of(0.1)
    assert "1.0%" in warning
