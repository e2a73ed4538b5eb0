"""Where a training's networks are and how they compute there: sharded or whole, rounded, long attention in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, TypeVar

from lightning.pytorch import LightningModule
from torch import nn

from consistency_tta.components.blocked_attention import attend_in_blocks, faster_in_blocks
from consistency_tta.components.narrow_convolutions import compute_narrow_in_float32, wrong_in_bfloat16
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.runtime.shared_copies import separate_memory, sharing_copies
from consistency_tta.training.frozen_networks import KINDS, RoundedNetworks, to_round, to_shard
from consistency_tta.training.fully_sharded import FullySharded
from consistency_tta.training.sharding import ShardedNetworks
from consistency_tta.training.shards import local

M = TypeVar("M", bound=nn.Module)


class PlacedNetworks(LightningModule):
    """A training whose networks the strategy may shard, and whose copies then share memory until they are sharded."""

    def __init__(self) -> None:
        super().__init__()
        #: The networks that are sharded over processes, under the strategy ``fsdp2``.
        self.sharded: ShardedNetworks | None = None
        #: Which kinds of frozen networks are kept in bfloat16, and these networks.
        self.kinds_in_bfloat16: frozenset[str] = frozenset()
        self.rounded: RoundedNetworks | None = None
        self.copies_share = sharing_copies()

    def setup(self, stage: str) -> None:
        """In bfloat16 on a CPU: long attention in blocks where that is faster, few channels in float32 where need be.

        Also in averages and frozen networks.
        """
        if self.trainer.strategy.root_device.type != "cpu" or str(self.trainer.precision) != "bf16-mixed":
            return
        for network in (self, *self._held()):
            if faster_in_blocks():
                attend_in_blocks(network)
            if wrong_in_bfloat16():
                compute_narrow_in_float32(network)

    def configure_model(self) -> None:
        """Round frozen networks where that is chosen; shard networks over the processes under ``fsdp2``."""
        if self.kinds_in_bfloat16 and self.rounded is None:
            chosen = [network for kind in KINDS if kind in self.kinds_in_bfloat16 for network in to_round(self, kind)]
            self.rounded = RoundedNetworks(chosen)
        strategy = None if self._trainer is None else self.trainer.strategy
        if isinstance(strategy, FullySharded) and self.sharded is None:
            others = [network for kind in KINDS if strategy.shards_kind(kind) for network in to_shard(self, kind)]
            self.sharded = ShardedNetworks(self, strategy.mesh, strategy.shard_frozen, others)
            self._separate_copies()
            strategy.broadcast_weights(self)
        self._separate_copies()

    def _separate_copies(self) -> None:
        """Give what is trained memory of its own, where the training was built with copies that share it."""
        if self.copies_share:
            frozen = (parameter for part in self._held() for parameter in part.parameters())
            separate_memory(*([p for p in parameters if local(p) is p] for parameters in (self.parameters(), frozen)))
            self.copies_share = False

    def _held(self) -> list[nn.Module]:
        """The networks that are used and not trained."""
        return [part for module in self.modules() if isinstance(module, Frozen) for part in module.held.values()]

    def whole(self, module: M) -> M:
        """The module; where it holds weights that are sharded or rounded a copy with whole, original ones.

        For copies of sharded weights all processes call together. What is neither sharded nor rounded is shared.
        """
        copies: dict[int, nn.Module] = {}
        for part in module.modules():
            if self.rounded is not None and part in self.rounded.plain:
                copies[id(part)] = self.rounded.whole(part).to(self.device)
            elif self.sharded is not None and part in self.sharded.plain:
                copies[id(part)] = self.sharded.whole(part)
        if not copies:
            return module
        kept: dict[int, nn.Module | nn.Parameter] = {id(parameter): parameter for parameter in module.parameters()}
        return deepcopy(module, kept | copies)

    def whole_parts(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Parts of a model by name, of which networks are as :meth:`whole` has them."""
        return {name: self.whole(part) if isinstance(part, nn.Module) else part for name, part in parts.items()}
