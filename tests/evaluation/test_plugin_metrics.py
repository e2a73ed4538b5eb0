"""Metrics of a third party in a protocol: one file on the import path, named by class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from consistency_tta.cli import main
from consistency_tta.evaluation import networks
from tests.evaluation.cases import ToyNetwork, write_protocol, write_sounds

#: A metric with a value for each clip, and one of two sets with two values.
METRICS = """
import torch
from torchmetrics import Metric

class LevelDifference(Metric):
    per_clip = True
    higher_is_better = False
    title = "Level difference"

    def __init__(self, decibel: float = 10.0) -> None:
        super().__init__()
        self.decibel = decibel
        self.add_state("value", torch.tensor(0.0))

    def update(self, waveform, recording):
        self.value = self.decibel * (waveform.square().mean() / recording.square().mean()).log10().abs()

    def compute(self):
        return self.value

class MeanDistance(Metric):
    def __init__(self, num_features: int) -> None:
        super().__init__()
        for name in ("generated", "real"):
            self.add_state(name, torch.zeros(num_features))

    def update(self, vectors, real):
        if real:
            self.real = self.real + vectors.sum(0)
        else:
            self.generated = self.generated + vectors.sum(0)

    def compute(self):
        return {"distance": torch.dist(self.generated, self.real), "ratio": self.generated.norm() / self.real.norm()}
"""


def test_metrics_of_another_package_have_values_and_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "measuring.py").write_text(METRICS)
    monkeypatch.syspath_prepend(tmp_path / "outside")
    monkeypatch.setattr(networks, "make_network", lambda name, weights: ToyNetwork())
    metrics = [
        {"metric": "measuring.LevelDifference", "options": {"decibel": 20.0}},
        {"metric": "measuring.MeanDistance", "network": "toy"},
    ]
    command = ["evaluate", "--protocol", str(write_protocol(tmp_path / "rules", metrics=metrics)), "--device", "cpu"]
    command += ["--generated", str(write_sounds(tmp_path / "a")), "--reference", str(write_sounds(tmp_path / "b", 1))]
    result = main([*command, "--output", str(tmp_path / "report")])
    level, distance, ratio = result.metric_values
    assert (level.name, level.title, level.higher_is_better) == ("LevelDifference", "Level difference", False)
    assert [distance.name, ratio.name] == ["MeanDistance/toy/distance", "MeanDistance/toy/ratio"]
    for found in result.metric_values:
        assert found.interval is not None
        assert found.interval.low <= found.interval.high

    # Against the definitions, of the files.
    power = [
        [np.mean(np.square(soundfile.read(tmp_path / side / f"clip{k}.wav")[0] - mean)) for k, mean in enumerate(means)]
        for side, means in (("a", means_of(tmp_path / "a")), ("b", means_of(tmp_path / "b")))
    ]
    assert result.per_clip["LevelDifference"] == pytest.approx(20 * np.abs(np.log10(np.divide(*power))), rel=1e-4)
    assert level.value == pytest.approx(np.mean(result.per_clip["LevelDifference"]))
    assert "LevelDifference" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.parametrize(
    ("metric", "named"),
    [
        ({"metric": "nowhere.Metric"}, "nowhere.Metric"),
        ({"metric": "torch.nn.Linear"}, "torch.nn.Linear"),
        ({"metric": "torchmetrics.MeanMetric"}, "value"),
        ({"metric": "consistency_tta.metrics.frechet.FrechetDistance"}, "FrechetDistance"),  # without its network
    ],
)
def test_a_metric_that_is_none_is_refused_before_anything_is_read(
    metric: dict[str, str], named: str, tmp_path: Path
) -> None:
    protocol = write_protocol(tmp_path, metrics=[metric])
    with pytest.raises(SystemExit, match=named):
        main(["evaluate", "--protocol", str(protocol), "--generated", "x", "--reference", "x"])


def means_of(folder: Path) -> list[float]:
    return [float(np.mean(soundfile.read(folder / f"clip{k}.wav")[0])) for k in range(6)]
