"""What the strategy ``fsdp2`` divides among processes: the networks of backbones, and frozen ones that are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from consistency_tta.components.backbones import Backbone
from consistency_tta.planning.parts import all_modules
from consistency_tta.training.frozen_networks import KINDS, to_shard
from consistency_tta.training.fully_sharded import FullySharded
from consistency_tta.training.sharding import units


def sharded_bytes(divided: Sequence[nn.Module]) -> int:
    """Parameters of networks that are divided, and of trained ones what AdamW adds."""
    total = 0
    for network in divided:
        for parameter in network.parameters():
            # Values; and in training a gradient and two moments.
            total += parameter.numel() * parameter.element_size() * (4 if parameter.requires_grad else 1)
    return total


def largest_block(divided: Sequence[nn.Module]) -> int:
    """Bytes of the most parameters that are gathered at once: a unit's, without those of units inside it."""
    return max((own for network in divided for own in gathered_at_once(units(network))), default=0)


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


def divided_networks(module: nn.Module, strategy: Any) -> list[nn.Module]:
    """The networks of all backbones, frozen ones and averages included, and the frozen ones that a strategy adds.

    Args:
        module: the training.
        strategy: of the recipe's ``trainer``: a name or an object.
    """
    backbones = networks(module)
    if not backbones or not isinstance(strategy, FullySharded):
        return backbones
    return backbones + [network for kind in KINDS if strategy.shards_kind(kind) for network in to_shard(module, kind)]


def networks(module: nn.Module) -> list[nn.Module]:
    """The networks of a training's backbones, each once."""
    return list(dict.fromkeys(part.network for part in all_modules(module) if isinstance(part, Backbone)))
