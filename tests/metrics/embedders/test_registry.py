"""Embedders by name, those of third parties among them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from consistency_tta.metrics import embedders
from consistency_tta.metrics.embedders import EMBEDDERS, TinyCLAP, make_embedder

PLUGIN = """
import torch
from consistency_tta.metrics.embedder import AudioEmbedder, AudioEmbedding
from consistency_tta.metrics.embedders import EMBEDDERS

class Loudness(AudioEmbedder):
    name, sample_rate, num_features, checksum = "loudness", 8000, 1, "none"

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, waveform):
        return AudioEmbedding(waveform.abs().pow(self.power).mean(1)[:, None, None])

EMBEDDERS[Loudness.name] = Loudness
"""


def test_names_are_the_classes_own() -> None:
    assert set(EMBEDDERS) == {"mn04", "clap", "tiny-clap", "vggish", "panns", "encodec", "laion-clap"}
    assert all(embedder.name == name for name, embedder in EMBEDDERS.items())
    assert set(embedders.__all__) == {embedder.__name__ for embedder in EMBEDDERS.values()} | {
        "EMBEDDERS",
        "make_embedder",
    }
    assert isinstance(make_embedder("tiny-clap"), TinyCLAP)
    assert isinstance(make_embedder("consistency_tta.metrics.embedders.TinyCLAP", model="tiny-clap"), TinyCLAP)


def test_an_installed_plugin_adds_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loudness_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="got 'loudness'"):
        make_embedder("loudness")
    information = tmp_path / "loudness-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: loudness\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[consistency_tta.plugins]\nloudness = loudness_plugin\n")
    try:
        assert make_embedder("loudness", power=1.0)(-torch.ones(2, 8)).vectors.tolist() == [[[1.0]], [[1.0]]]
    finally:
        EMBEDDERS.pop("loudness", None)
        sys.modules.pop("loudness_plugin", None)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mn4", {}, r"one of clap, encodec, .*vggish, or a class as package\.module\.Class, got 'mn4'"),
        ("nowhere.Ears", {}, r"got 'nowhere\.Ears' \(No module named 'nowhere'\)"),
        ("consistency_tta.metrics.frechet.FrechetDistance", {}, r"FrechetDistance to be a subclass of .*AudioEmbedder"),
        ("mn04", {"wieghts": "x"}, "mn04 has no option wieghts: its options are weights"),
    ],
)
def test_what_is_not_known_is_named(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_embedder(name, **options)


@pytest.mark.parametrize(
    ("name", "package"), [("panns", "frechet_audio_distance"), ("encodec", "encodec"), ("laion-clap", "laion_clap")]
)
def test_a_missing_extra_is_named_with_its_cure(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ModuleNotFoundError, match=rf"needs the package {package}.*pip install 'consistency-tta\[laion\]'"
    ):
        make_embedder(name)
