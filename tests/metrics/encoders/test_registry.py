"""Encoders by name, those of third parties among them, and the class paths of earlier versions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from consistency_tta.components.clap import TinyClap
from consistency_tta.metrics import embedders, encoders
from consistency_tta.metrics.encoders import ENCODERS, make_encoder
from consistency_tta.runtime.errors import ConfigurationError, MissingExtraError

PLUGIN = """
from consistency_tta.contracts import AudioEncoder
from consistency_tta.metrics.encoders import ENCODERS

class Loudness(AudioEncoder):
    sample_rate, num_features = 8000, 1

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def embed(self, waveform, sample_rate):
        return waveform.abs().pow(self.power).mean(1)[:, None]

ENCODERS["loudness"] = Loudness
"""


def test_names_are_the_classes_own() -> None:
    assert set(ENCODERS) == {"mn04", "clap", "tiny-clap", "vggish", "panns", "encodec", "laion-clap"}
    assert all(encoder.name == name for name, encoder in ENCODERS.items())
    assert set(encoders.__all__) == {encoder.__name__ for encoder in ENCODERS.values()} | {"ENCODERS", "make_encoder"}
    assert type(make_encoder("tiny-clap")) is TinyClap
    assert type(make_encoder("consistency_tta.metrics.encoders.TinyClap", model="tiny-clap")) is TinyClap


@pytest.mark.parametrize(
    ("former", "now"),
    [
        ("TransformersCLAP", "TransformersClap"),
        ("TinyCLAP", "TinyClap"),
        ("LaionCLAP", "LaionClap"),
        *[(name, name) for name in ("Encodec", "Mn04", "PANNs", "VGGish")],
    ],
)
def test_class_paths_of_earlier_versions_resolve(former: str, now: str) -> None:
    assert getattr(embedders, former) is getattr(encoders, now)


def test_an_installed_plugin_adds_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loudness_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="'loudness'"):
        make_encoder("loudness")
    information = tmp_path / "loudness-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: loudness\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[consistency_tta.plugins]\nloudness = loudness_plugin\n")
    try:
        encoder = make_encoder("loudness", power=1.0)
        assert encoder.name == "Loudness"
        assert encoder.embed_windows(-torch.ones(2, 8), 8000).vectors.tolist() == [[[1.0]], [[1.0]]]
    finally:
        ENCODERS.pop("loudness", None)
        sys.modules.pop("loudness_plugin", None)


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("mn4", {}, "'mn4'"),
        ("nowhere.Network", {}, r"'nowhere\.Network'"),
        ("consistency_tta.metrics.frechet.FrechetDistance", {}, "FrechetDistance"),
        ("mn04", {"wieghts": "x"}, "wieghts"),
    ],
)
def test_what_is_not_known_is_named(name: str, options: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        make_encoder(name, **options)


@pytest.mark.parametrize(
    ("name", "package"), [("panns", "frechet_audio_distance"), ("encodec", "encodec"), ("laion-clap", "laion_clap")]
)
def test_a_missing_package_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=package):
        make_encoder(name)
