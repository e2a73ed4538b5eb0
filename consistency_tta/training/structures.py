"""Networks without their weights, on the meta device, and copies of them that are given weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def without_memory(parameters: Iterable[nn.Parameter]) -> dict[int, nn.Parameter]:
    """Parameters of the same shapes on the meta device, by the ids of the ones given."""
    return {id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad) for p in parameters}


def structure_of(network: M) -> M:
    """A copy of a network whose parameters take no memory."""
    return deepcopy(network, without_memory(network.parameters()))


def with_tensors(structure: M, tensors: Mapping[str, Tensor]) -> M:
    """A copy of a structure with parameters and buffers by name; what it has in common with itself stays so."""
    memo: dict[int, Tensor] = {}
    for name, parameter in structure.named_parameters():
        memo[id(parameter)] = nn.Parameter(tensors[name], parameter.requires_grad)
    memo |= {id(buffer): tensors[name] for name, buffer in structure.named_buffers()}
    return deepcopy(structure, memo)
