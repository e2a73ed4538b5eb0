"""A copy on the CPU of the averaged weights of a training, which can take their place for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from consistency_tta.training.ema import ExponentialMovingAverage


def averaged_state(module: nn.Module) -> dict[str, Tensor]:
    """What the exported model depends on: averages and buffers, copied to the CPU, by their names in ``state_dict``.

    Weights in training are left out, and so is a target network; both change nothing that is exported. Weights that an
    average shares with its source, since they are not trained, are left out, too.
    """
    target = getattr(module, "target", None)
    averages, other = [], []
    for name, part in module.named_modules():
        if isinstance(part, ExponentialMovingAverage):
            (other if part is target else averages).append(f"{name}.")
    trained = {
        id(parameter)
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if not name.startswith(tuple(averages))
    }
    return {
        name: value.detach().cpu().clone()
        for name, value in module.state_dict(keep_vars=True).items()
        if id(value) not in trained and not name.startswith(tuple(other))
    }


@contextmanager
def replaced_state(module: nn.Module, state: dict[str, Tensor] | None) -> Iterator[None]:
    """Inside the context the module has the weights of :func:`averaged_state`; afterwards its own again.

    Args:
        module: whose weights are replaced in place.
        state: the weights; None to leave the module as it is.
    """
    if state is None:
        yield
        return
    own = averaged_state(module)
    module.load_state_dict(state, strict=False)
    try:
        yield
    finally:
        module.load_state_dict(own, strict=False)
