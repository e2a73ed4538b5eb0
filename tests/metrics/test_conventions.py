"""Each metric is used as those of torchmetrics are: with numpy arrays, in collections, copied, pickled and drawn."""

from __future__ import annotations

import pickle
from typing import Any

import matplotlib
import pytest
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from consistency_tta import metrics
from tests.metrics.cases import CASES, CLIPS, Case, scalars

ALL = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def test_there_is_a_case_for_each_metric() -> None:
    assert {type(case.make()).__name__ for case in CASES.values()} == set(metrics.__all__)


def numbers(metric: Metric) -> dict[str, float]:
    return {name: value.item() for name, value in scalars(metric.compute()).items()}


class GivesArrays:
    """Stands for a metric that is given numpy arrays instead of tensors."""

    def __init__(self, metric: Any) -> None:
        self.metric = metric

    def update(self, *args: Any, **kwargs: Any) -> None:
        arrays = [value.numpy() if isinstance(value, Tensor) else value for value in args]
        self.metric.update(*arrays, **kwargs)


@ALL
def test_numpy_arrays_are_taken_as_tensors_are(case: Case) -> None:
    metric = case.make()
    case.feed(GivesArrays(metric), 0, CLIPS)
    assert numbers(metric) == numbers(case.of((0, CLIPS)))


@ALL
def test_arrays_may_be_filled_again(case: Case) -> None:
    class Refills(GivesArrays):
        """Overwrites its arrays after each update."""

        def update(self, *args: Any, **kwargs: Any) -> None:
            copies = [value.clone() if isinstance(value, Tensor) else value for value in args]
            super().update(*copies, **kwargs)
            for copied in copies:
                if isinstance(copied, Tensor):
                    copied.zero_()

    metric = case.make()
    case.feed(Refills(metric), 0, CLIPS)
    assert numbers(metric) == numbers(case.of((0, CLIPS)))


def test_reversed_and_read_only_arrays_and_those_of_other_byte_orders_are_taken() -> None:
    embeddings = torch.randn(CLIPS, 3).numpy()
    values = []
    for array in (embeddings, embeddings[::-1][::-1], embeddings[::-1], embeddings.astype(">f4")):
        metric = metrics.PromptDiversity()
        array.flags.writeable = False
        metric.update(array, torch.zeros(CLIPS, dtype=torch.long))
        values.append(metric.compute().item())
    assert values == pytest.approx([values[0]] * 4)


@ALL
def test_copies_moves_and_conversions_change_nothing(case: Case) -> None:
    expected = numbers(case.of((0, CLIPS)))
    half_fed = case.of((0, 12)).to("cpu").half().float()  # torchmetrics leaves states in their own type
    for copied in (pickle.loads(pickle.dumps(half_fed)), half_fed.clone()):
        case.feed(copied, 12, CLIPS)
        assert numbers(copied) == pytest.approx(expected, rel=1e-6)
        copied.reset()
        case.feed(copied, 0, CLIPS)
        assert numbers(copied) == pytest.approx(expected, rel=1e-6)


@ALL
def test_states_of_another_type_are_accepted(case: Case) -> None:
    metric = case.of((0, CLIPS))
    expected = numbers(metric)
    assert numbers(metric.set_dtype(torch.float32)) == pytest.approx(expected, rel=1e-3)


@ALL
def test_plot_draws_the_value(case: Case) -> None:
    matplotlib.use("agg")
    figure, axes = case.of((0, CLIPS)).plot()
    assert axes.has_data()
    matplotlib.pyplot.close(figure)


def test_a_collection_computes_what_each_metric_does() -> None:
    names = ("kl_softmax", "kl_sigmoid", "inception", "diversity", "frechet", "coverage")
    logits, recorded = torch.randn(2, CLIPS, 3)
    inputs = {
        "logits": logits,
        "recording_logits": recorded,
        "embeddings": logits,
        "prompts": torch.arange(CLIPS) % 7,
        "real": False,
    }
    collection = MetricCollection({name: CASES[name].make() for name in names})
    alone = {name: CASES[name].make() for name in names}
    for _ in range(2):
        collection.update(**inputs)
        for metric in alone.values():
            metric.update(**metric._filter_kwargs(**inputs))
    for name in ("frechet", "coverage"):
        for metric in (collection[name], alone[name]):
            metric.update(recorded, real=True)
    found = collection.compute()
    for name, metric in alone.items():
        for key, value in scalars(metric.compute()).items():
            assert value == found[key if key else name]


def test_means_that_are_equal_by_chance_do_not_share_their_states() -> None:
    sounds, others = torch.randn(2, 4, 1000)
    rates = {"low": 8000, "high": 16000}
    collection = MetricCollection({name: metrics.LogSpectralDistance(rate) for name, rate in rates.items()})
    alone = {name: metrics.LogSpectralDistance(rate) for name, rate in rates.items()}
    for recording in (sounds, others):  # first of distance 0 by both
        for metric in (collection, *alone.values()):
            metric.update(sounds, recording)
    assert collection.compute() == {name: metric.compute() for name, metric in alone.items()}
