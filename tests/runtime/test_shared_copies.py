"""Copies share memory while it is asked for, and get their own afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from consistency_tta.runtime.shared_copies import copy_module, separate_memory, share_copies, sharing_copies


def test_copies_share_memory_within_the_block_alone() -> None:
    module = nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    with share_copies():
        assert sharing_copies()
        inner = copy_module(module)
    with pytest.raises(RuntimeError, match="stopped"), share_copies():
        raise RuntimeError("stopped")
    assert not sharing_copies()
    for copy, shares in ((inner, True), (copy_module(module), False)):
        assert (copy.weight.data_ptr() == module.weight.data_ptr()) is shares
        assert copy.weight is not module.weight  # each has a gradient of its own
        assert copy.weight.is_leaf
        assert torch.equal(copy.weight, module.weight)
        assert [parameter.requires_grad for parameter in copy.parameters()] == [True, False]


@pytest.mark.parametrize("sharing", [True, False])
def test_parameters_that_are_kept_are_the_originals_own(sharing: bool) -> None:
    module = nn.Linear(3, 2)
    kept = {id(module.bias): module.bias}
    if sharing:
        with share_copies():
            copy = copy_module(module, kept)
    else:
        copy = copy_module(module, kept)
    assert copy.bias is module.bias
    assert copy.weight is not module.weight
    assert len(kept) == 1


def test_each_parameter_gets_memory_of_its_own_but_the_first_of_its_memory() -> None:
    first, other = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(2))
    copies = [nn.Parameter(first.detach()) for _ in range(3)]
    place = first.data_ptr()
    separate_memory([copies[0], first, other], others=[nn.Parameter(other.detach())])
    assert copies[0].data_ptr() == place  # which comes first
    assert len({parameter.data_ptr() for parameter in (copies[0], first, other)}) == 3
    assert torch.equal(first, copies[0])
    separate_memory(copies[1:], others=[copies[0]])
    assert len({parameter.data_ptr() for parameter in copies}) == 3
    assert torch.equal(copies[2], first)
