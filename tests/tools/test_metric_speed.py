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


def test_a_network_hears_every_clip(monkeypatch):
    heard = []
    make = metric_speed.make_network

    def listening(*args):
        network = make(*args)
        network.register_forward_pre_hook(lambda module, args: heard.append(tuple(args[0].shape)))
        return network

    monkeypatch.setattr(metric_speed, "make_network", listening)
    monkeypatch.setattr(metric_speed, "SECONDS", 1)
    assert metric_speed.network_cost("tiny-clap", 18).clips_per_second > 0
    rate = make("tiny-clap").sample_rate
    assert heard == [(16, rate), (16, rate), (2, rate)]
