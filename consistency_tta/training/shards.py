"""Tensors that are sharded over processes (torch's DTensor), next to ones that every process has whole.

Optimizers, averages and clipping work on each process's part; checkpoints hold whole tensors, so that a run may go on
with another number of processes, or without sharding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(module: nn.Module) -> bool:
    """Whether parameters of a module are sharded."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, sharing its memory; the tensor itself where it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(value: Any) -> Any:
    """A sharded tensor as a whole one, which all processes must ask for together; anything else as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shard_like(value: Any, like: Any) -> Any:
    """A whole tensor sharded as another of its shape is; anything else as it is."""
    entire = isinstance(value, Tensor) and not isinstance(value, DTensor)
    if not entire or not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all entries of some tensors, sharded ones or not; the same in every process."""
    squares = {True: torch.zeros((), device=tensors[0].device), False: torch.zeros((), device=tensors[0].device)}
    for sharded in squares:
        parts = [local(tensor) for tensor in tensors if isinstance(tensor, DTensor) == sharded]
        if parts:
            squares[sharded] = torch.stack(torch._foreach_norm(parts)).float().square().sum()
    if any(isinstance(tensor, DTensor) for tensor in tensors):
        torch.distributed.all_reduce(squares[True])
    return (squares[True] + squares[False]).sqrt()


def average_whole(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of parameters that are not sharded over the processes, as DistributedDataParallel does."""
    gradients = [p.grad for p in parameters if p.grad is not None and not isinstance(p, DTensor)]
    if gradients:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
        for gradient, average in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(average.view_as(gradient))
