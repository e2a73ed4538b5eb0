"""The frozen networks of a training beside its teacher: text encoder and codec; their weights in bfloat16."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.weight_norm import WeightNorm

from consistency_tta.components.float32_buffers import Float32Buffers
from consistency_tta.components.mel_encoding import MelEncoding
from consistency_tta.components.text import TextEncoder
from consistency_tta.contracts import Codec
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training.structures import structure_of, with_tensors

#: The kinds of them. A codec is an autoencoder with its vocoder.
KINDS = ("text_encoder", "codec")
#: Layers whose weights autocast rounds.
ROUNDED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


class RoundedNetworks:
    """Keeps weights of frozen networks in bfloat16, and the original ones on the CPU.

    These are the weights of linear and convolutional layers, which autocast would round at each query: in half the
    memory such a layer computes what it did.

    Args:
        networks: on the CPU.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        #: By network, its structure, with parameters that take no memory.
        self.plain: dict[nn.Module, nn.Module] = {}
        self._originals: dict[nn.Module, dict[str, Tensor]] = {}
        for network in networks:
            self.plain[network] = structure_of(network)
            self._originals[network] = {name: parameter.detach() for name, parameter in network.named_parameters()}
            for layer in rounded_layers(network):
                layer.to(torch.bfloat16)

    def whole(self, network: nn.Module) -> nn.Module:
        """A plain copy of one of the networks, with its original weights, on the CPU."""
        return with_tensors(self.plain[network], self._originals[network] | dict(network.named_buffers()))


def rounded_layers(network: nn.Module) -> Iterator[nn.Module]:
    """Layers that compute the same with rounded weights.

    Not those of weight norm, which computes weights in each forward pass; nor those of networks that leave autocast for
    exact spectrograms.
    """
    if isinstance(network, Float32Buffers):
        return
    for layer in network.modules():
        weight_norm = any(isinstance(hook, WeightNorm) for hook in layer._forward_pre_hooks.values())
        if isinstance(layer, ROUNDED) and not weight_norm:
            yield layer


def frozen_networks(owner: nn.Module, kind: str) -> list[nn.Module]:
    """The networks of a training's frozen text encoders or codecs, each once.

    Args:
        owner: the training.
        kind: of :data:`KINDS`. A codec has several: the parts of its autoencoder, and the vocoder.
    """
    found: list[nn.Module] = []
    for held in _held(owner):
        if kind == "text_encoder" and isinstance(held, TextEncoder):
            found.append(held.encoder)
        elif kind == "codec" and isinstance(held, Codec):
            autoencoder = getattr(held, "vae", None)
            found += [part for part in held.children() if part is not autoencoder]
            found += [] if autoencoder is None else autoencoder.children()
    return [part for part in dict.fromkeys(found) if any(True for _ in part.parameters())]


def to_round(owner: nn.Module, kind: str) -> list[nn.Module]:
    """The :func:`frozen_networks` of which weights can be kept in bfloat16.

    Raises:
        ConfigurationError: if there are none.
    """
    found = [network for network in frozen_networks(owner, kind) if any(True for _ in rounded_layers(network))]
    if not found:
        raise ConfigurationError(
            f"expected a frozen {kind} with plain weights to keep in bfloat16, got one that is trained, or all of it "
            f"with weight norm: set {kind} of FrozenInBfloat16 to false"
        )
    return found


def to_shard(owner: nn.Module, kind: str) -> list[nn.Module]:
    """The :func:`frozen_networks` that can be sharded, since all their callers call ``forward``.

    Raises:
        ConfigurationError: if there are none.
    """
    found = frozen_networks(owner, kind)
    if kind == "codec" and not all(isinstance(held, MelEncoding) for held in _held(owner) if isinstance(held, Codec)):
        found = []
    if not found:
        expected = {"text_encoder": "a frozen text encoder", "codec": "a codec of mel spectrograms"}[kind]
        raise ConfigurationError(
            f"expected {expected} to shard, got one that is trained or of another kind, or none: set shard_{kind} of "
            "FullySharded to false"
        )
    return found


def _held(owner: nn.Module) -> list[nn.Module]:
    return [held for part in owner.modules() if isinstance(part, Frozen) for held in part.held.values()]
