"""What losses without parameters carry from step to step: a running mean, a count.

Losses with parameters are saved among the weights. The others are held frozen, out of ``state_dict``, since most are
networks that come from elsewhere; what they hold besides networks is saved here, so that a resumed run is exact.
"""

from __future__ import annotations

import logging
from typing import Any

from torch import nn

from consistency_tta.contracts import Loss
from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.weighted_losses import WeightedLosses

log = logging.getLogger(__name__)

#: The key in a checkpoint.
KEY = "loss_states"


def carried_state(loss: Loss) -> dict[str, Any]:
    """A loss's persistent buffers and extra states, without those of networks in it."""
    networks = [name for name, part in loss.named_modules() if name and next(part.parameters(), None) is not None]
    inside = tuple(f"{name}." for name in networks)
    return {name: value for name, value in loss.state_dict().items() if not name.startswith(inside)}


def store_loss_states(checkpoint: dict[str, Any], losses: WeightedLosses) -> None:
    """Add the state of all losses without parameters to a checkpoint."""
    states = {name: carried_state(loss) for name, loss in losses.frozen.held.items()}  # type: ignore[arg-type]
    checkpoint[KEY] = {name: state for name, state in states.items() if state}


def restore_loss_states(checkpoint: dict[str, Any], losses: WeightedLosses) -> None:
    """Load the states; losses that the checkpoint does not have keep their own.

    Raises:
        CheckpointError: if a state does not fit its loss.
    """
    for name, state in (checkpoint.get(KEY) or {}).items():
        if name in losses.frozen.held and state:
            try:
                left = losses.frozen[name].load_state_dict(state, strict=False).unexpected_keys
            except (RuntimeError, AttributeError, TypeError) as error:
                raise CheckpointError(
                    f"the checkpoint's state of loss {name!r} does not fit it ({' '.join(str(error).split())}): name a "
                    "checkpoint of this configuration"
                ) from error
            if left:  # of another loss, or for buffers that are None until they are computed
                log.warning("loss %r has no place for the checkpoint's %s: it begins without", name, ", ".join(left))


def counters(losses: WeightedLosses) -> dict[str, int | float]:
    """Numbers that losses keep as plain attributes, by ``loss.attribute``, which no checkpoint has."""
    found: dict[str, int | float] = {}
    for name in losses.weights:
        if type(losses[name]).get_extra_state is nn.Module.get_extra_state:
            numbers = {key: value for key, value in vars(losses[name]).items() if type(value) in (int, float)}
            found |= {f"{name}.{key}": value for key, value in numbers.items()}
    return found


def warn_of_counters(before: dict[str, int | float], losses: WeightedLosses) -> None:
    """Warn of numbers that have changed in training: a resumed run begins anew with them."""
    if changed := [name for name, value in counters(losses).items() if name in before and before[name] != value]:
        log.warning(
            "checkpoints do not have %s, which training changes: a resumed run differs; make it a buffer, or define "
            "get_extra_state and set_extra_state",
            ", ".join(changed),
        )
