"""What the strategy ``fsdp2`` divides among processes: the networks of backbones, which hold nearly all weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from consistency_tta.components.backbones import Backbone
from consistency_tta.planning.parts import all_modules
from consistency_tta.training.sharding import units


def sharded_bytes(module: nn.Module) -> int:
    """Parameters of all backbones, frozen ones and averages included, and of trained ones what AdamW adds."""
    total = 0
    for network in networks(module):
        for parameter in network.parameters():
            # Values; and in training a gradient and two moments.
            total += parameter.numel() * parameter.element_size() * (4 if parameter.requires_grad else 1)
    return total


def largest_block(module: nn.Module) -> int:
    """Bytes of the most parameters that are gathered at once: a unit's, without those of units inside it."""
    return max((own for network in networks(module) for own in gathered_at_once(units(network))), default=0)


def gathered_at_once(outer_first: Sequence[nn.Module]) -> list[int]:
    """Bytes of each unit's own parameters, inner units first.

    Args:
        outer_first: units, each before those inside it.
    """
    taken: set[nn.Parameter] = set()
    own = []
    for unit in reversed(outer_first):
        parameters = set(unit.parameters()) - taken
        taken |= parameters
        own.append(sum(parameter.numel() * parameter.element_size() for parameter in parameters))
    return own


def networks(module: nn.Module) -> list[nn.Module]:
    """The networks of a training's backbones, each once."""
    return list(dict.fromkeys(part.network for part in all_modules(module) if isinstance(part, Backbone)))
