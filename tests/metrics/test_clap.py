"""The CLAP scores: their values, and that neither batches nor processes change them."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.metrics.clap import CLAPAudioScore, CLAPScore
from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError
from tests.toy_encoder import ToyEncoder, halves

SOUNDS = halves((1.0, 0.0), (0.0, 2.0), (-1.0, 0.0))
CAPTIONS = ["60", "90", "0"]
SCORE = (0.5 + 1 - 1) / 3


def test_it_is_the_mean_cosine_whatever_the_batches() -> None:
    metric = CLAPScore(ToyEncoder())
    metric.update(SOUNDS, CAPTIONS, 16000)
    assert metric.compute() == pytest.approx(SCORE)
    metric.reset()
    metric.update(SOUNDS[:1], CAPTIONS[:1], 16000)
    metric.update(SOUNDS[1:], CAPTIONS[1:], 16000)
    assert metric.compute() == pytest.approx(SCORE)
    assert metric.total.dtype == torch.float64


def test_sounds_reach_the_encoder_at_its_rate() -> None:
    encoder = ToyEncoder(48000)
    metric = CLAPScore(encoder)
    metric.update(SOUNDS, CAPTIONS, 16000)
    assert encoder.lengths == [3000]
    assert metric.compute() == pytest.approx(SCORE, abs=1e-2)


def test_processes_do_not_matter() -> None:
    parts = [CLAPScore(ToyEncoder()), CLAPScore(ToyEncoder())]
    for part, rows in zip(parts, (slice(0, 1), slice(1, 3)), strict=True):
        part.update(SOUNDS[rows], CAPTIONS[rows], 16000)
    parts[0].merge_state(parts[1])
    assert parts[0].compute() == pytest.approx(SCORE)


def test_errors_say_what_to_do() -> None:
    metric = CLAPScore(ToyEncoder())
    with (
        pytest.raises(DataError),
        pytest.warns(UserWarning, match="called before"),
    ):
        metric.compute()
    with pytest.raises(ShapeError, match="3, 1000"):
        metric.update(SOUNDS, ["60"], 16000)
    with pytest.raises(DataError):
        metric.update(SOUNDS * torch.nan, CAPTIONS, 16000)


@pytest.mark.parametrize(
    ("waveform", "captions", "rate", "error", "named"),
    [
        ((SOUNDS * 1000).to(torch.int16), CAPTIONS, 16000, DataError, "int16"),
        (SOUNDS[:0], [], 16000, ShapeError, "0, 1000"),
        (SOUNDS, CAPTIONS, "16000", ConfigurationError, "'16000'"),
        (SOUNDS, "abc", 16000, ShapeError, "'abc'"),
    ],
)
def test_sounds_captions_and_rates_of_the_wrong_kind_are_named(
    waveform: torch.Tensor, captions: list[str], rate: int, error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        CLAPScore(ToyEncoder()).update(waveform, captions, rate)


def test_an_encoder_is_no_name() -> None:
    with pytest.raises(ConfigurationError, match="tiny-clap"):
        CLAPScore("tiny-clap")  # type: ignore[arg-type]


def test_recordings_take_the_place_of_captions() -> None:
    """At 60, 90 and 0 degrees, as the captions, and twice as long."""
    recordings = halves((0.5, 0.75**0.5), (0.0, 0.3), (0.7, 0.0), samples=2000)
    metric = CLAPAudioScore(ToyEncoder())
    metric.update(SOUNDS, recordings, 16000)
    assert metric.compute() == pytest.approx(SCORE)
    metric.reset()
    metric.update(SOUNDS, SOUNDS, 16000)
    assert metric.compute() == pytest.approx(1)
    with pytest.raises(ShapeError, match="2, 1000"):
        metric.update(SOUNDS, SOUNDS[:2], 16000)
    with pytest.raises(DataError):
        metric.update(SOUNDS, SOUNDS * torch.nan, 16000)
