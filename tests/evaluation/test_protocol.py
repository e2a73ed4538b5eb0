"""A protocol is complete, or refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from consistency_tta.datamodules.clips import AudioFolder, read_captions
from consistency_tta.evaluation.metric_specs import METRICS, Kind
from consistency_tta.evaluation.protocol_file import PROTOCOLS, load_protocol, protocol_names
from consistency_tta.runtime.errors import ConfigurationError
from tests.evaluation.cases import settings, write_protocol, write_sounds


def test_three_come_with_the_package() -> None:
    assert protocol_names() == ["audiocaps-882", "audiocaps-957", "esc50-fold5"]
    assert sum(file.stat().st_size for file in PROTOCOLS.iterdir()) < 300_000


@pytest.mark.parametrize("name", protocol_names())
def test_those_of_the_package_are_complete(name: str, tmp_path: Path) -> None:
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
    ("changes", "named"),
    [
        ({"sead": 1}, "seed"),
        ({"version": "newest"}, "version"),
        ({"metrics": [{"metrc": "frechet"}]}, "metrc"),
        ({"audio": {"sample_rate": 8000, "seconds": 1, "resampler": "linear"}}, "linear"),
        ({"audio": settings()["audio"] | {"seconds": 0}}, "audio.seconds"),
        ({"audio": settings()["audio"] | {"peak": 2}}, "audio.peak"),
        ({"audio": settings()["audio"] | {"sample_rate": -1}}, "audio.sample_rate"),
        ({"bootstrap": {"confidence": 95}}, "95"),
        ({"bootstrap": {"resamples": 0}}, "resamples"),
        ({"metrics": [{"metric": "frechet", "network": "vggish"}]}, "vggish"),
        ({"clips": {"number": 6, "file": "toy.csv", "sha256": "ff"}}, "toy.csv"),
        ({"clips": {"number": 6, "file": "other.csv"}}, "other.csv"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=named):
        load_protocol(write_protocol(tmp_path, **changes))


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "name: [", "name: only\n", "name: " + "[" * 3000])
def test_no_protocol_at_all(content: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"x\.yaml"):
        load_protocol(file)


@pytest.mark.parametrize("name", ["audiocaps", "none.yaml"])
def test_an_unknown_name_is_an_error(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        load_protocol(name)
