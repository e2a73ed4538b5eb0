"""All weights or none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from consistency_tta.convert.exact import build_matching
from consistency_tta.runtime.errors import CheckpointError


def make() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))


def test_weights_arrive_in_float32_under_their_published_names() -> None:
    whole = {f"layers.{name}": tensor.half() for name, tensor in make().state_dict().items()}
    whole["layers.1.weight"] = whole["layers.1.weight"].reshape(2, 2, 1, 1)  # a 1x1 convolution
    network = build_matching(make, whole, "two layers", "it.bin", lambda name: f"layers.{name}")
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, whole[f"layers.{name}"].reshape(tensor.shape).float())
    assert not network.training


def test_the_message_has_counts_and_the_first_names() -> None:
    weights = make().state_dict()
    weights["0.bias"] = torch.zeros(5)
    del weights["1.weight"]
    weights |= {f"extra.{index}": torch.zeros(1) for index in range(6)}
    with pytest.raises(CheckpointError, match=r"it\.bin") as caught:
        build_matching(make, weights, "two layers", "it.bin")
    message = str(caught.value)
    assert "1 missing (1.weight)" in message
    assert "6 unexpected (extra.0, extra.1, extra.2, extra.3, ...)" in message
    assert "1 of another shape (0.bias is (5,) instead of (2,))" in message
