"""The metrics of the package are found by their names, and imported only then."""

from __future__ import annotations

import subprocess
import sys

import pytest
from torchmetrics import Metric

from consistency_tta import metrics


def test_all_metrics_are_exported() -> None:
    assert all(issubclass(getattr(metrics, name), Metric) for name in metrics.__all__)
    assert set(metrics.__all__) <= set(dir(metrics))
    with pytest.raises(AttributeError, match="NoSuchMetric"):
        _ = metrics.NoSuchMetric


def test_the_package_alone_imports_nothing_heavy() -> None:
    program = "import sys, consistency_tta.metrics; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout.strip() == b"False"


def test_which_way_each_metric_is_better() -> None:
    """Sweeps, tables and the choice of the best model go by it."""
    higher = {name for name in metrics.__all__ if getattr(metrics, name).higher_is_better}
    lower = {name for name in metrics.__all__ if getattr(metrics, name).higher_is_better is False}
    assert higher == {"CLAPAudioScore", "CLAPScore", "Coverage", "InceptionScore", "PromptDiversity"}
    assert lower == set(metrics.__all__) - higher
