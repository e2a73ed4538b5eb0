"""The tensors of a training: trained, averaged, frozen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.optimizer import trainable_parameters


@dataclass(frozen=True)
class Part:
    """One kind of parameters.

    Attributes:
        number: of parameters, buffers included.
        size: bytes.
    """

    number: int
    size: int


def parts(module: TrainingModule) -> dict[str, Part]:
    """Sizes of ``trained``, ``averages`` and ``frozen`` tensors; each tensor is counted once."""
    learners = {name: list(trainable_parameters(learner.module)) for name, learner in module.learners().items()}
    seen: set[int] = set()
    found = {f"trained: {name}": _part(tensors, seen) for name, tensors in learners.items()}
    averages = (tensor for average in module.emas() for tensor in _registered(average))
    found["averages"] = _part(averages, seen)
    found["frozen"] = _part(all_tensors(module), seen)
    return found


def all_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers of a module, in frozen networks as well."""
    for part in all_modules(module):
        yield from part.parameters(recurse=False)
        yield from part.buffers(recurse=False)


def _registered(module: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers that a module registers."""
    yield from module.parameters()
    yield from module.buffers()


def all_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Every module, in frozen networks as well, once."""
    seen: set[int] = set()
    waiting = [module]
    while waiting:
        for part in waiting.pop().modules():
            if id(part) in seen:
                continue
            seen.add(id(part))
            yield part
            if isinstance(part, Frozen):
                waiting += part.held.values()


def _part(tensors: Iterable[Tensor], seen: set[int]) -> Part:
    number = size = 0
    for tensor in tensors:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            number += tensor.numel()
            size += tensor.numel() * tensor.element_size()
    return Part(number, size)
