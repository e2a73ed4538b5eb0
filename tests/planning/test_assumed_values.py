"""Tensors without values, where code reads some."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from consistency_tta.planning.assumed_values import AssumedValues, CopiedTensors


def test_numbers_masks_and_comparisons_have_answers() -> None:
    with FakeTensorMode(), AssumedValues():
        some = torch.randn(4, 3)
        assert some[0, 0].item() == 1.0
        assert torch.arange(3).tolist() == [1, 1, 1]
        assert torch.equal(some, some + 1)
        assert not torch.equal(some, some[:2])
        assert some[some[:, 0] > 0].shape == (4, 3)  # every row
        assert some[some > 0].shape == (12,)
        assert (some > 0).nonzero().shape == (12, 2)


def test_networks_are_copied() -> None:
    with FakeTensorMode(), CopiedTensors():
        network = nn.BatchNorm1d(3)
        copied = deepcopy(network)
    assert {name: value.shape for name, value in copied.state_dict().items()} == {
        name: value.shape for name, value in network.state_dict().items()
    }
    storages = {value.untyped_storage()._cdata for value in (*network.buffers(), *copied.buffers())}
    assert len(storages) == 2 * len(list(network.buffers()))
