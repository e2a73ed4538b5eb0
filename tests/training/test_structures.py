"""Networks without weights, and copies with weights."""

from __future__ import annotations

import torch
from torch import nn

from consistency_tta.training.structures import structure_of, with_tensors


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.other.weight = self.one.weight
        self.register_buffer("offset", torch.ones(3))


def test_a_copy_has_the_given_tensors_and_what_was_one_parameter_stays_one() -> None:
    network = Tied().requires_grad_(False)
    structure = structure_of(network)
    assert structure.one.weight is structure.other.weight
    assert structure.one.weight.is_meta
    given = {"one.weight": torch.randn(3, 3), "offset": torch.zeros(3)}
    copies = [with_tensors(structure, given) for _ in range(2)]
    for copy in copies:
        assert copy.one.weight is copy.other.weight
        assert not copy.one.weight.requires_grad
        assert copy.one.weight.data_ptr() == given["one.weight"].data_ptr()
        assert torch.equal(copy.offset, given["offset"])
    assert copies[0].one.weight is not copies[1].one.weight
    assert torch.equal(network.offset, torch.ones(3))
