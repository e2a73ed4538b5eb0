"""What the strategy ``fsdp2`` divides among processes: the networks of backbones, which hold nearly all weights."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from consistency_tta.components.backbones import Backbone
from consistency_tta.planning.parts import all_modules


def sharded_bytes(module: nn.Module) -> int:
    """Parameters of all backbones, frozen ones and averages included, and of trained ones what AdamW adds."""
    total = 0
    for network in networks(module):
        for parameter in network.parameters():
            # Values; and in training a gradient and two moments.
            total += parameter.numel() * parameter.element_size() * (4 if parameter.requires_grad else 1)
    return total


def largest_block(module: nn.Module) -> int:
    """Bytes of the largest of the blocks that the backbones' networks have in their outermost lists."""
    return max((size(block) for network in networks(module) for block in blocks(network)), default=0)


def networks(module: nn.Module) -> list[nn.Module]:
    """The networks of a training's backbones, each once."""
    return list(dict.fromkeys(part.network for part in all_modules(module) if isinstance(part, Backbone)))


def blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists; the network itself where it has none."""
    lists = [part for part in network.children() if isinstance(part, nn.ModuleList)]
    yield from (block for part in lists for block in part)
    if not lists:
        yield network


def size(module: nn.Module) -> int:
    """Bytes of a module's parameters."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
