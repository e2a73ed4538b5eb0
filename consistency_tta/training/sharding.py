"""Which networks of a training are sharded over processes, and plain copies of them with whole weights.

Source: torch's ``fully_shard``, FSDP2, https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html; Zhao et
al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", 2023, https://arxiv.org/abs/2304.11277.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import distribute_tensor

from consistency_tta.components.backbones import Backbone
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training.shards import local, whole
from consistency_tta.training.structures import structure_of, with_tensors, without_memory

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

#: The least share of a network's parameters that is gathered by itself.
SMALLEST_UNIT = 0.01


class ShardedNetworks:
    """Shards the networks of all backbones of a training: those that learn, their averages, and frozen ones.

    Every process keeps its part of each weight, and so of its gradient, its optimizer state and its average. A block's
    weights are gathered while the block computes. What is no backbone stays whole in each process unless it is named,
    such as discriminators.

    Args:
        owner: the training.
        mesh: of the processes, one-dimensional.
        shard_frozen: whether frozen backbones, such as the teacher, are sharded, too.
        others: further networks to shard, of which only ``forward`` is called.

    Raises:
        ConfigurationError: if no network can be sharded.
    """

    def __init__(
        self, owner: nn.Module, mesh: DeviceMesh, shard_frozen: bool, others: Sequence[nn.Module] = ()
    ) -> None:
        #: By network, its structure, with parameters that take no memory.
        self.plain: dict[nn.Module, nn.Module] = {}
        learning = {backbone.network for backbone in backbones(owner)}
        networks = list(dict.fromkeys(backbone.network for backbone in backbones(owner, shard_frozen)))
        if not networks:
            raise ConfigurationError(
                f"expected a training of a U-Net or a transformer to shard, got {type(owner).__name__}, whose networks "
                "are small: set --trainer.strategy ddp"
            )
        seen: dict[int, nn.Module] = {}
        for network in (*networks, *others):
            for parameter in network.parameters():
                if seen.setdefault(id(parameter), network) is not network:
                    raise ConfigurationError(
                        "expected networks without common weights to shard, but LoRA's averages share the weights that "
                        "are not trained: set --trainer.strategy ddp, which for LoRA needs little more memory"
                    )
        for network in networks:
            self._shard(network, mesh, whole_around_blocks=network not in learning)
        for network in others:
            self._shard(network, mesh, whole_around_blocks=False)

    def _shard(self, network: nn.Module, mesh: DeviceMesh, whole_around_blocks: bool) -> None:
        """Shard a network block by block, the inner ones first: its structure first, and then tensor by tensor."""
        self.plain[network] = structure_of(network)
        outermost, *blocks = units(network)
        # What lies around the blocks stays whole in a teacher: where a loss reads its blocks' features, no gradient of
        # its output would gather these weights again.
        sharded = [*reversed(blocks), *([] if whole_around_blocks else [outermost])]
        of_units = {id(parameter) for unit in sharded for parameter in unit.parameters()}
        weights = {name: p for name, p in network.named_parameters() if id(p) in of_units}
        structure = without_memory(weights.values())
        for part in network.modules():
            part._parameters.update({n: structure[id(p)] for n, p in part._parameters.items() if id(p) in structure})
        for unit in sharded:
            # Resharded after every query, since averages and optimizers must only meet sharded weights.
            fully_shard(unit, mesh=mesh, reshard_after_forward=True)
        self._load(network, weights)
        for parameter in network.parameters():
            if local(parameter) is parameter:
                parameter.data = parameter.data.clone()  # else it would keep the whole file of the weights mapped

    @staticmethod
    def _load(network: nn.Module, weights: dict[str, nn.Parameter]) -> None:
        """Divide the first process's weights among all; each is freed as soon as it is divided."""
        parts: dict[str, nn.Parameter] = {}
        made: dict[int, nn.Parameter] = {}
        for name, parameter in network.named_parameters(remove_duplicate=False):
            if name in weights:
                like: Any = parameter
                part = distribute_tensor(weights.pop(name).detach(), like.device_mesh, like.placements)
                made[id(parameter)] = nn.Parameter(part, requires_grad=parameter.requires_grad)
            if id(parameter) in made:  # a text encoder has its embeddings under two names
                parts[name] = made[id(parameter)]
        network.load_state_dict(parts, strict=False, assign=True)

    def whole(self, network: nn.Module) -> nn.Module:
        """A plain copy of one of the networks, with whole weights.

        All processes must call it together.
        """
        tensors = {name: whole(parameter.detach()) for name, parameter in network.named_parameters()}
        return with_tensors(self.plain[network], tensors | dict(network.named_buffers()))


def backbones(owner: nn.Module, frozen: bool = False) -> Iterator[Backbone]:
    """All backbones in a module, with or without those in ``Frozen``."""
    for module in owner.modules():
        if isinstance(module, Backbone):
            yield module
        elif isinstance(module, Frozen) and frozen:
            for held in module.held.values():
                yield from backbones(held, frozen)


def units(network: nn.Module) -> list[nn.Module]:
    """What of a network is gathered at a time: itself, and each larger block in one of its lists, outer ones first."""
    least = SMALLEST_UNIT * size(network)
    blocks = [block for part in network.modules() if isinstance(part, nn.ModuleList) for block in part.children()]
    return [network, *(block for block in dict.fromkeys(blocks) if size(block) >= least)]


def size(module: nn.Module) -> int:
    """The number of a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
