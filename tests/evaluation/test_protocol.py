"""A protocol says everything, or is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from consistency_tta.datamodules.clips import AudioFolder, read_captions
from consistency_tta.evaluation.metric_specs import METRICS, Kind
from consistency_tta.evaluation.protocol import PROTOCOLS, RESAMPLER, load_protocol, protocol_names
from tests.evaluation.cases import settings, write_protocol, write_sounds


def test_the_three_come_with_the_package() -> None:
    assert protocol_names() == ["audiocaps-882", "audiocaps-957", "esc50-fold5"]
    assert sum(file.stat().st_size for file in PROTOCOLS.iterdir()) < 300_000


@pytest.mark.parametrize("name", protocol_names())
def test_those_of_the_package_are_whole(name: str, tmp_path: Path) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    assert protocol.sha256 == hashlib.sha256((PROTOCOLS / f"{name}.yaml").read_bytes()).hexdigest()
    assert str(protocol.clips.number) in protocol.name or protocol.clips.number == 400
    for metric in protocol.metrics:
        assert (metric.network is None) == (METRICS[metric.metric].kind is Kind.SOUND)
    assert len({metric.name for metric in protocol.metrics}) == len(protocol.metrics)
    if protocol.clip_list is not None:
        clips = read_captions(protocol.clip_list, AudioFolder(write_sounds(tmp_path / "any")))
        assert len(clips) == protocol.clips.number
        assert {len(clip.captions) for clip in clips} == {1}


def test_own_file(tmp_path: Path) -> None:
    file = write_protocol(tmp_path)
    protocol = load_protocol(file)
    assert (protocol.name, protocol.version, protocol.audio.num_samples) == ("toy", 3, 2000)
    assert protocol.clip_list == tmp_path / "toy.csv"
    file.write_text(file.read_text() + "\n")
    assert load_protocol(file).sha256 != protocol.sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sead": 1}, "(?s)'sead' is not accepted.*did you mean 'seed'"),
        ({"version": "newest"}, 'Parser key "version"'),
        ({"metrics": [{"metrc": "frechet"}]}, "did you mean 'metric'"),
        ({"audio": {"sample_rate": 8000, "seconds": 1, "resampler": "linear"}}, f"expected the resampler {RESAMPLER}"),
        ({"audio": settings()["audio"] | {"seconds": 0}}, "positive audio.seconds, got 0"),
        ({"audio": settings()["audio"] | {"peak": 2}}, r"audio.peak in \(0, 1\], or null, got 2"),
        ({"audio": settings()["audio"] | {"sample_rate": -1}}, "positive audio.sample_rate"),
        ({"bootstrap": {"confidence": 95}}, r"confidence in \(0, 1\), got 95"),
        ({"bootstrap": {"resamples": 0}}, "at least 2 resamples"),
        ({"metrics": [{"metric": "frechet", "network": "vggish"}]}, "networks among toy in metrics, got vggish"),
        ({"clips": {"number": 6, "file": "toy.csv", "sha256": "ff"}}, "expected clips.sha256 of toy.csv, [0-9a-f]{64}"),
        ({"clips": {"number": 6, "file": "other.csv"}}, "expected the list of clips beside it"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_protocol(write_protocol(tmp_path, **changes))


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "name: [", "name: only\n"])
def test_no_protocol_at_all(content: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"x\.yaml is not a protocol"):
        load_protocol(file)


@pytest.mark.parametrize("name", ["audiocaps", "none.yaml"])
def test_an_unknown_name_gets_the_list(name: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=f"audiocaps-882, audiocaps-957, esc50-fold5, or a YAML file, got {name}"
    ):
        load_protocol(name)
