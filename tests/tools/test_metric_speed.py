import importlib
import inspect
import pkgutil

import pytest
from torchmetrics import Metric

from consistency_tta import metrics
from tools import metric_speed


def test_every_metric_is_measured():
    found = set()
    for module in pkgutil.iter_modules(metrics.__path__):
        members = vars(importlib.import_module(f"{metrics.__name__}.{module.name}")).values()
        found |= {
            m for m in members if inspect.isclass(m) and issubclass(m, Metric) and m.__module__.endswith(module.name)
        }
    bases = {"ClipMean", "EmbeddingSets", "SoundMetric"}
    public = {m.__name__ for m in found if not m.__name__.startswith("_")} - bases
    measured = {type(subject.make(40)).__name__ for subject in metric_speed.SUBJECTS.values()}
    assert measured == public


@pytest.mark.parametrize("name", ["clap_text", "clap_audio"])
def test_clap_scores_keep_a_mean_alone(name, monkeypatch):
    monkeypatch.setattr(metric_speed, "SECONDS", 1)
    short = metric_speed.SUBJECTS[name]._replace(numbers=metric_speed.SAMPLE_RATE)
    monkeypatch.setitem(metric_speed.SUBJECTS, name, short)
    assert metric_speed.cost(name, 18).state_mb < 1e-3


def test_diversity_keeps_an_embedding_a_clip():
    assert metric_speed.cost("diversity", 40).state_mb == pytest.approx(40 * 4 * metric_speed.WIDTH / 1e6, rel=0.01)


@pytest.mark.parametrize(("name", "grows"), [("frechet", False), ("kl_softmax", False), ("kad", True)])
def test_states_grow_with_the_clips_or_do_not(name, grows):
    few, many = (metric_speed.cost(name, clips) for clips in (20, 60))
    assert few.clips_per_second > 0
    assert few.compute_seconds > 0
    assert few.peak_mb >= 0
    assert many.state_mb == pytest.approx(few.state_mb * (3 if grows else 1))
    if grows:
        assert many.state_mb == pytest.approx(2 * 60 * metric_speed.WIDTH * 4 / 1e6)


def test_a_network_embeds_every_clip(monkeypatch):
    shapes = []
    make = metric_speed.make_network

    def recorded(*args):
        network = make(*args)
        embed = network.embed
        network.embed = lambda waveform, rate: (shapes.append(tuple(waveform.shape)), embed(waveform, rate))[1]
        return network

    monkeypatch.setattr(metric_speed, "make_network", recorded)
    monkeypatch.setattr(metric_speed, "SECONDS", 1)
    found = metric_speed.network_costs("tiny-clap", [18, 20])
    rate = make("tiny-clap").sample_rate
    assert shapes == [(16, rate), (16, rate), (2, rate), (2, rate)]  # the first warms up
    assert all(cost.clips_per_second > 0 for cost in found)
    assert found[0].peak_mb <= found[1].peak_mb
