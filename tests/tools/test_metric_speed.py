import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "tools"))  # the tools are scripts, in no package
import metric_speed


@pytest.mark.parametrize(("name", "grows"), [("frechet", False), ("kl_softmax", False), ("kad", True)])
def test_states_grow_with_the_clips_or_do_not(name, grows):
    few, many = (metric_speed.cost(name, clips) for clips in (20, 60))
    assert few.clips_per_second > 0
    assert few.compute_seconds > 0
    assert few.peak_mb >= 0
    assert many.state_mb == pytest.approx(few.state_mb * (3 if grows else 1))
    if grows:
        assert many.state_mb == pytest.approx(2 * 60 * metric_speed.WIDTH * 4 / 1e6)
