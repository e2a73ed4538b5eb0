import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "tools"))  # the tools are scripts, in no package
import metric_parity

ROWS = [row for row in metric_parity.rows() if row.theirs != "frechet_audio_distance"]  # tests/laion has that


@pytest.mark.filterwarnings("ignore:Metric .* will save all extracted features")
@pytest.mark.parametrize("row", ROWS, ids=[f"{row.ours}, {row.theirs}" for row in ROWS])
def test_metrics_equal_independent_implementations(row):
    # A CLAP's vectors are float32; all else is float64.
    assert metric_parity.largest_difference(row, draws=1) < (1e-5 if "CLAP" in row.ours else 1e-9)
