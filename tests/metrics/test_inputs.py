"""The parameters of a metric's ``update`` select its inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

from consistency_tta.metrics.inputs import metric_inputs, metric_numbers, select_inputs
from consistency_tta.runtime.errors import ConfigurationError

AVAILABLE = {
    "vectors": torch.arange(12.0).view(2, 3, 2),
    "logits": None,
    "captions": ["a", "b"],
    "waveform": torch.ones(2, 8),
    "recording": torch.ones(2, 5),
    "real": False,
}


class Fits(Metric):
    def update(self, vectors: Tensor, captions: list[str], scale: float = 1.0) -> None: ...

    def compute(self) -> None: ...


class Strange(Metric):
    def update(self, vectors: Tensor, spectrum: Tensor) -> None: ...

    def compute(self) -> None: ...


class Nothing(Metric):
    def update(self) -> None: ...

    def compute(self) -> None: ...


@pytest.mark.parametrize("metric", [Fits, Fits()])
def test_parameters_with_defaults_need_no_input(metric: Metric | type[Metric]) -> None:
    assert metric_inputs("fits", metric) == {"vectors", "captions"}


@pytest.mark.parametrize(("metric", "named"), [(Strange, "spectrum"), (Nothing, "Nothing")])
def test_a_parameter_without_an_input_is_refused(metric: type[Metric], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        metric_inputs("mine", metric)


def test_vectors_are_one_for_each_window_or_the_mean_for_each_sound() -> None:
    windows = select_inputs("m", {"embeddings", "real"}, AVAILABLE)
    assert windows.keys() == {"embeddings", "real"}
    assert torch.equal(windows["embeddings"], torch.arange(12.0).view(6, 2))
    means = select_inputs("m", {"vectors", "captions"}, AVAILABLE)["vectors"]
    assert torch.equal(means, torch.tensor([[2.0, 3.0], [8.0, 9.0]]))


def test_a_sound_and_its_recording_are_cut_to_the_same_length() -> None:
    assert select_inputs("m", {"waveform", "recording"}, AVAILABLE)["waveform"].shape == (2, 5)
    assert select_inputs("m", {"waveform"}, AVAILABLE)["waveform"].shape == (2, 8)


def test_an_encoder_that_lacks_an_input_is_named() -> None:
    with pytest.raises(ConfigurationError, match="logits"):
        select_inputs("m", {"logits"}, AVAILABLE)


def test_what_a_metric_computes_is_one_number_or_several_by_name() -> None:
    one = torch.tensor(1.0)
    assert metric_numbers("m", one) == {"m": one}
    assert metric_numbers("m", {"a": one}) == {"m/a": one}
    for wrong in (torch.ones(2), 1.0, {"a": [1]}):
        with pytest.raises(ConfigurationError):
            metric_numbers("m", wrong)
