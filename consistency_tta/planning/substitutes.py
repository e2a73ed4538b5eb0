"""Functions that need values, replaced by ones that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from consistency_tta.contracts import Schedule


def apply_without_values(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """As ``nn.Module._apply``, which cannot exchange tensors without values: only another format makes a new tensor."""
    for child in module.children() if recurse else ():
        child._apply(function)
    for name, parameter in module._parameters.items():
        if parameter is not None and (value := function(parameter.detach())).dtype != parameter.dtype:
            module._parameters[name] = nn.Parameter(value, parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None and (value := function(buffer)).dtype != buffer.dtype:
            module._buffers[name] = value
    return module


def with_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, run on tensors with values: noise schedules are checked, and tables of them are small."""

    def run(*args: Any) -> Any:
        with _disable_current_modes():
            return function(*args)

    return run


def falling_times(grid_times: Tensor, schedule: Schedule) -> list[float]:
    """Times as a grid would have them, where its own have no values."""
    last = max(1, len(grid_times) - 1)
    return [schedule.num_train_timesteps * (1 - index / last) for index in range(len(grid_times))]
