"""Frozen modules follow their owner and are otherwise invisible."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
import torch
from torch import nn

from consistency_tta.runtime.frozen import Frozen


class Owner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.frozen = Frozen(teacher=nn.Sequential(nn.Linear(2, 2), nn.Dropout()))


def test_invisible_to_optimizers_checkpoints_and_modes() -> None:
    owner = Owner().train()
    assert len(list(owner.parameters())) == 2
    assert set(owner.state_dict()) == {"layer.weight", "layer.bias"}
    assert not any("teacher" in name for name, _ in owner.named_modules())
    assert not owner.frozen.teacher.training
    owner.load_state_dict(Owner().state_dict(), strict=True)


def test_moves_with_its_owner() -> None:
    owner = Owner()
    owner.to(torch.float64)
    assert owner.frozen.teacher[0].weight.dtype == torch.float64
    owner.to("meta")
    assert owner.frozen.teacher[0].weight.is_meta


def test_lets_gradients_through() -> None:
    owner = Owner()
    x = torch.randn(3, 2, requires_grad=True)
    owner.frozen.teacher(owner.layer(x)).sum().backward()
    assert x.grad.abs().max() > 0
    assert owner.layer.weight.grad is not None
    assert all(p.grad is None and not p.requires_grad for p in owner.frozen.teacher.parameters())


@pytest.mark.parametrize("copy", [deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_hold_copies(copy: object) -> None:
    owner = Owner()
    other = copy(owner)
    assert torch.equal(other.frozen.teacher[0].weight, owner.frozen.teacher[0].weight)
    assert other.frozen.teacher is not owner.frozen.teacher
    assert len(list(other.parameters())) == 2


def test_names_of_methods_are_names_too() -> None:
    frozen = Frozen(half=nn.Linear(2, 3))
    assert frozen["half"].out_features == 3
    assert frozen.half().half is not None  # the method is still there
    with pytest.raises(AttributeError, match="student"):
        _ = frozen.student
