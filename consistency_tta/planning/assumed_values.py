"""Answers for code that reads values of tensors that have none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class AssumedValues(TorchDispatchMode):
    """Lets code run on tensors without values where it branches on them or indexes by them.

    A number that is read is 1, two tensors that are compared are equal, and a mask selects all entries. So spans of
    random places have their full length, gradients are finite, and rows chosen at random are all rows: the most memory.

    To be entered after ``FakeTensorMode``.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Answer what cannot be computed; pass on everything else."""
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            dtype = args[0].dtype
            return True if dtype is torch.bool else 1.0 if dtype.is_floating_point else 1
        if func is aten.equal.default:
            return args[0].shape == args[1].shape
        if func in (aten.is_nonzero.default, aten.allclose.default):
            return True
        if func is aten.nonzero.default:
            return args[0].new_zeros((args[0].numel(), args[0].dim()), dtype=torch.int64)
        if func is aten.masked_select.default:
            return args[0].expand(torch.broadcast_shapes(args[0].shape, args[1].shape)).reshape(-1)
        if func is aten.index.Tensor:
            args = (args[0], [_positions(index) for index in args[1]], *args[2:])
            args = (args[0], [part for parts in args[1] for part in parts])
        return func(*args, **kwargs)


class CopiedTensors(TorchFunctionMode):
    """Lets ``deepcopy`` copy tensors without values, and tensors of numpy's numbers next to them."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Copy by an operation, instead of byte by byte."""
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            memo[id(tensor)] = tensor.detach().clone().requires_grad_(tensor.requires_grad)
        return memo[id(tensor)]


def _positions(index: Any) -> list[Any]:
    """An index as it is, or for a mask one list of positions for each of its dimensions."""
    if index is None or index.dtype not in (torch.bool, torch.uint8):
        return [index]
    return [torch.zeros(index.numel(), dtype=torch.int64, device=index.device) for _ in range(index.dim())]
