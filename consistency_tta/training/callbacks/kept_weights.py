"""A copy on the CPU of the weights that a training exports, which can take their place for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from consistency_tta.training.base import TrainingModule
from consistency_tta.training.ema import ExponentialMovingAverage


def exported_state(module: TrainingModule) -> dict[str, Tensor]:
    """What the exported model depends on, copied to the CPU, by its names in ``state_dict``.

    These are averages, buffers, and parameters that are exported themselves. Other weights in training are left out,
    and so is a target network. Weights that an average shares with its source, since they are not trained, are left
    out unless they are exported.
    """
    target = getattr(module, "target", None)
    averages: list[str] = []
    other: list[str] = []
    for name, part in module.named_modules():
        if isinstance(part, ExponentialMovingAverage):
            (other if part is target else averages).append(f"{name}.")
    parts = [part for part in module.pipeline().components.values() if isinstance(part, nn.Module)]
    exported = {id(parameter) for part in parts for parameter in part.parameters()}
    left_out = {
        id(parameter)
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if not name.startswith(tuple(averages)) and id(parameter) not in exported
    }
    return {
        name: value.detach().cpu().clone()
        for name, value in module.state_dict(keep_vars=True).items()
        if id(value) not in left_out and not name.startswith(tuple(other))
    }


@contextmanager
def replaced_state(module: nn.Module, state: dict[str, Tensor] | None) -> Iterator[None]:
    """Inside the context the module has the weights of :func:`exported_state`; afterwards its own again.

    Args:
        module: whose weights are replaced in place.
        state: the weights; None to leave the module as it is.
    """
    if state is None:
        yield
        return
    own = {name: value.clone() for name, value in module.state_dict().items() if name in state}
    module.load_state_dict(state, strict=False)
    try:
        yield
    finally:
        module.load_state_dict(own, strict=False)
