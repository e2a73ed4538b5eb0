"""The evaluator: values are those of the metrics, and do not depend on batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch

from consistency_tta.audio.recordings import SoundFiles
from consistency_tta.audio.sound_file import Sound
from consistency_tta.evaluation.evaluator import Evaluator
from consistency_tta.evaluation.protocol import MetricSettings
from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.runtime.errors import ConfigurationError, DataError
from tests.evaluation.cases import RATE, ToyNetwork, noise

CAPTIONS = ["a dog", "rain", "rain"]
METRICS = [MetricSettings(metric, "toy") for metric in ("clap_score", "frechet", "diversity")]


@pytest.fixture
def sounds() -> list[Sound]:
    return [Sound(torch.from_numpy(noise(seed))[:, 0].float(), RATE, 1) for seed in range(3)]


@pytest.fixture
def reference() -> dict[str, ReferenceStatistics]:
    return {"toy": ReferenceStatistics.of(10 * torch.rand(20, 4))}


def test_values_are_those_of_the_metrics(sounds: list[Sound], reference: dict[str, ReferenceStatistics]) -> None:
    table = Evaluator(METRICS, {"toy": ToyNetwork()}).evaluate_sounds(sounds, CAPTIONS, reference)
    waveform = torch.stack([sound.waveform for sound in sounds])
    vectors, text = ToyNetwork().embed(waveform, RATE), ToyNetwork().embed_text(CAPTIONS)
    cosines = torch.nn.functional.cosine_similarity(vectors, text)
    torch.testing.assert_close(table.per_clip["clap_score/toy"].float(), cosines)
    assert table["clap_score/toy"] == pytest.approx(float(cosines.mean()), rel=1e-6)
    assert table["frechet/toy"] == reference["toy"].distance(vectors)
    assert table["diversity/toy"] == pytest.approx(float(torch.dist(vectors[1].double(), vectors[2].double())))
    assert [found.interval for found in table.values] == [None] * 3


def test_values_do_not_depend_on_the_batch_size(
    sounds: list[Sound], reference: dict[str, ReferenceStatistics], tmp_path: Path
) -> None:
    """Also of files, and where lengths differ."""
    sounds[1] = sounds[1]._replace(waveform=sounds[1].waveform.repeat(2))
    files = [tmp_path / f"{k}.wav" for k in range(3)]
    for file, sound in zip(files, sounds, strict=True):
        soundfile.write(file, sound.waveform.numpy(), RATE, subtype="FLOAT")
    networks = {"toy": ToyNetwork()}
    one, two, read = (
        Evaluator(METRICS, networks, batch_size=size).evaluate_sounds(given, CAPTIONS, reference)
        for size, given in ((1, sounds), (2, sounds), (2, SoundFiles(files)))
    )
    for other in (two, read):
        for name in ("clap_score/toy", "frechet/toy", "diversity/toy"):
            assert other[name] == pytest.approx(one[name], rel=1e-5)


def test_a_metric_that_needs_pairs_has_no_value_with_statistics(
    sounds: list[Sound], reference: dict[str, ReferenceStatistics]
) -> None:
    evaluator = Evaluator([MetricSettings("distance", "toy"), *METRICS], {"toy": ToyNetwork()})
    table = evaluator.evaluate_sounds(sounds, CAPTIONS, reference)
    assert "distance/toy" in table.warnings[0]
    assert "distance/toy" not in {found.name for found in table.values}
    with pytest.raises(DataError, match="distance/toy"):
        table["distance/toy"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (MetricSettings("fad", "toy"), "fad"),
        (MetricSettings("frechet"), "frechet"),
        (MetricSettings("lsd", "toy"), "toy"),
        (MetricSettings("torch.nn.Linear", "toy"), "Linear"),
    ],
)
def test_a_metric_that_cannot_be_computed_is_refused(settings: MetricSettings, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Evaluator([settings], {"toy": ToyNetwork()})
