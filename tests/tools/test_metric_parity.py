"""Our metrics equal independent implementations."""

from __future__ import annotations

import pytest

from tools.metric_parity.comparison import Row, largest_difference, rows

ROWS = [row for row in rows() if row.theirs != "frechet_audio_distance"]  # tests/laion has that


@pytest.mark.filterwarnings("ignore:Metric .* will save all extracted features")
@pytest.mark.parametrize("row", ROWS, ids=[f"{row.ours}, {row.theirs}" for row in ROWS])
def test_metrics_equal_independent_implementations(row: Row) -> None:
    # A CLAP's vectors are float32; all else is float64.
    assert largest_difference(row, draws=1) < (1e-5 if "CLAP" in row.ours else 1e-9)
