from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn

from consistency_tta.runtime.device import best_device, device_of, exact_device, exact_dtype, to_device
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.frozen import Frozen


@pytest.mark.parametrize("name", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        best_device(name)
    assert best_device("cpu") == torch.device("cpu")


def test_the_reason_is_torchs_first_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"nonsense \(no such kind of device\)"):
        best_device("nonsense")
    monkeypatch.setattr(torch, "empty", mock.Mock(side_effect=RuntimeError("First, at 1.5 V. Second\nthird")))
    with pytest.raises(ConfigurationError, match=r"xpu:3 \(First, at 1\.5 V\)"):
        best_device("xpu:3")


def test_who_names_a_gpu_is_told_cuda() -> None:
    with pytest.raises(ConfigurationError, match="give cuda"):
        best_device("gpu")


@pytest.mark.parametrize(("there", "expected"), [(True, "meta"), (False, "cpu")])
def test_the_accelerator_is_best_where_there_is_one(
    there: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("meta"))
    assert best_device() == torch.device(expected)


@pytest.mark.parametrize(
    ("start", "end", "pinned"), [("cpu", "cuda", True), ("cuda", "cuda", False), ("cpu", "xpu", False)]
)
def test_copies_to_cuda_are_of_memory_that_stays(start: str, end: str, pinned: bool) -> None:
    tensor: Any = mock.Mock(device=torch.device(start))
    found = to_device(tensor, torch.device(end))
    source = tensor.pin_memory.return_value if pinned else tensor
    source.to.assert_called_once_with(torch.device(end), non_blocking=True)
    assert found is source.to.return_value


@pytest.mark.parametrize(("kind", "exact"), [("cpu", True), ("cuda", True), ("xpu", True), ("mps", False)])
def test_what_needs_float64_is_on_the_cpu_where_the_device_has_none(kind: str, exact: bool) -> None:
    device = torch.device(kind)
    assert exact_dtype(device) == (torch.float64 if exact else torch.float32)
    assert exact_device(device) == (device if exact else torch.device("cpu"))


def test_the_device_of_a_network_is_that_of_its_weights_frozen_or_not() -> None:
    assert device_of(nn.Identity()) == torch.device("cpu")
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    assert device_of(nn.BatchNorm1d(1, affine=False, device="meta")) == torch.device("meta")
    inner = nn.Sequential(Frozen(network=nn.Linear(1, 1, device="meta")))
    assert device_of(nn.Sequential(Frozen(encoder=inner))) == torch.device("meta")
