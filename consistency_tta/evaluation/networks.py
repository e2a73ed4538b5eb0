"""The networks a protocol asks for, and whether they are the ones it means."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError

from torch import Tensor

from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.reward_lineage import EncoderFingerprint
from consistency_tta.contracts import AudioEncoder
from consistency_tta.evaluation.protocol import Protocol
from consistency_tta.metrics.encoders import ENCODERS, make_encoder
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.bundled import TRANSFORMERS, resolve
from consistency_tta.storage.checksum import checksum


def make_network(name: str, weights: str | None = None) -> AudioEncoder:
    """A network by its short name; ``weights`` says where its file or folder is, if not where it belongs."""
    if weights is None:
        network = make_encoder(name)
    else:
        takes = inspect.signature(ENCODERS[name]).parameters if name in ENCODERS else {}
        network = make_encoder(name, **{"model" if "model" in takes else "weights": weights})
    if network.checksum is None:
        raise ConfigurationError(f"expected a `checksum` of {name}, by which results and the cache know it, got None")
    return network


def make_networks(protocol: Protocol, weights: Mapping[str, str]) -> dict[str, AudioEncoder]:
    """All networks of a protocol, by its names for them.

    Args:
        protocol: which names them.
        weights: where their files or folders are, by name.

    Raises:
        ValueError: ``weights`` names another network, or a checkpoint is not the one the protocol pins. A figure of
            another network would not be the protocol's.
    """
    if others := weights.keys() - protocol.networks.keys():
        raise ValueError(
            f"expected weights of {', '.join(protocol.networks)}, the networks of {protocol.name}, got some of "
            f"{', '.join(sorted(others))}"
        )
    networks: dict[str, AudioEncoder] = {}
    for name, settings in protocol.networks.items():
        network = make_network(name, weights.get(name))
        if settings.sha256 not in (None, network.checksum):
            raise ValueError(
                f"{name}: the protocol {protocol.name} is pinned to weights with SHA-256 {settings.sha256}"
                f"{f' ({settings.weights})' if settings.weights else ''}, got {network.checksum}: fetch those, or copy "
                f"{protocol.source.name}, give it a name of its own, and put the hash you have into it"
            )
        networks[name] = network
    return networks


def embed_text(network: AudioEncoder) -> Callable[[Sequence[str]], Tensor] | None:
    """How a network reads captions, unit vectors (B, D) of B captions; None of one without words."""
    return network.embed_text if network.embeds_text else None


def identity(network: AudioEncoder) -> EncoderFingerprint:
    """What a network is known by among rewards; only audio-text encoders are any."""
    return EncoderFingerprint.of(network) if network.embeds_text else EncoderFingerprint(network.checksum, ())


def identity_of(weights: str) -> EncoderFingerprint:
    """What a CLAP is known by.

    Args:
        weights: the SHA-256 of its file, or any file that ``TransformersClap`` cannot hear by, which tell it from no
            other CLAP; or as for ``TransformersClap``.

    Raises:
        FileNotFoundError: it is not there.
    """
    if re.fullmatch("[0-9a-f]{64}", weights):
        return EncoderFingerprint(weights)
    place = Path(resolve(weights, TRANSFORMERS))
    if place.name == "model.safetensors" and (place.parent / TRANSFORMERS).is_file():
        place = place.parent
    try:
        return EncoderFingerprint.of(TransformersClap(place))
    except (OSError, ValueError, RuntimeError, UnpicklingError):
        if not place.is_file():
            raise
        return EncoderFingerprint(checksum(place))
