"""Statistics of recordings instead of recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.runtime.errors import DataError
from tests.bundles import unit_vectors


def test_they_are_stored_with_the_clap_and_give_the_metrics_distance(tmp_path: Path) -> None:
    real, generated = unit_vectors(60), unit_vectors(40) * 0.9
    ReferenceStatistics.of(real).save(tmp_path)
    (tmp_path / "config.json").touch()
    metric = FrechetDistance(real.shape[1])
    metric.update(real, real=True)
    metric.update(generated, real=False)
    loaded = ReferenceStatistics.load(str(tmp_path))
    assert loaded.count == 60
    assert loaded.distance(generated) == pytest.approx(float(metric.compute()), rel=1e-9)


def test_too_few_clips_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1"):
        ReferenceStatistics.of(unit_vectors(1))
    with pytest.raises(FileNotFoundError, match="other"):
        ReferenceStatistics.load(str(tmp_path / "other"))
