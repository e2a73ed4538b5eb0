"""Loads weights into a network, and fails if a weight is missing or left over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from consistency_tta.runtime.errors import CheckpointError

Network = TypeVar("Network", bound=nn.Module)


def build_matching(
    make: Callable[[], Network],
    tensors: Mapping[str, Tensor],
    what: str,
    origin: object,
    original: Callable[[str], str] = str,
) -> Network:
    """A network with exactly the given weights, in float32.

    Args:
        make: makes the network; called on the ``meta`` device, so that the original initialisation costs nothing.
        tensors: weights under their published names, and no others.
        what: the network's name in messages.
        origin: where the weights come from, in messages.
        original: the published name of what the network calls so.

    Raises:
        CheckpointError: if names are missing or left over, or shapes differ. A 1x1 convolution where the network has a
            linear layer is the same thing and is accepted.
    """
    with torch.device("meta"):
        network = make()
    wanted = {original(name): (name, tensor) for name, tensor in network.state_dict().items()}
    complaints = [
        _list(sorted(wanted.keys() - tensors.keys()), "missing"),
        _list(sorted(tensors.keys() - wanted.keys()), "unexpected"),
    ]
    weights, wrong = {}, []
    for source in sorted(wanted.keys() & tensors.keys()):
        name, place = wanted[source]
        tensor = tensors[source]
        if tensor.shape == (*place.shape, 1, 1):
            tensor = tensor[:, :, 0, 0]
        if tensor.shape != place.shape:
            wrong.append(f"{source} is {tuple(tensor.shape)} instead of {tuple(place.shape)}")
        weights[name] = tensor.float().contiguous()
    complaints.append(_list(wrong, "of another shape"))
    if any(complaints):
        raise CheckpointError(
            f"{origin} does not hold {what}, or not all of it: {'; '.join(filter(None, complaints))}. "
            "Is it the right file, and whole?"
        )
    network.load_state_dict(weights, assign=True)
    return network.eval()


def shape(tensors: Mapping[str, Tensor], name: str, what: str, origin: object) -> tuple[int, ...]:
    """The shape of a weight that shows how wide a network is.

    Raises:
        CheckpointError: if there is none of that name.
    """
    if name not in tensors:
        found = _list(sorted(tensors), "others") or "nothing"
        raise CheckpointError(f"{origin} does not hold {what}, or not all of it: it lacks {name} and has {found}")
    return tuple(tensors[name].shape)


def count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many tensors called ``pattern.format(0)``, ``pattern.format(1)``, ... there are, up to the first gap."""
    number = 0
    while pattern.format(number) in tensors:
        number += 1
    return number


def _list(entries: list[str], kind: str, shown: int = 4) -> str:
    """How many entries, and the first few; an empty text for none."""
    if not entries:
        return ""
    return f"{len(entries)} {kind} ({', '.join(entries[:shown])}{', ...' if len(entries) > shown else ''})"
