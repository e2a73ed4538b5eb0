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
from consistency_tta.contracts import AudioTextEncoder
from consistency_tta.evaluation.protocol import Protocol
from consistency_tta.metrics.embedder import AudioEmbedder
from consistency_tta.metrics.embedders import EMBEDDERS, make_embedder
from consistency_tta.storage.bundled import TRANSFORMERS, resolve
from consistency_tta.storage.checksum import checksum


def make_network(name: str, weights: str | None = None) -> AudioEmbedder:
    """A network by its short name; ``weights`` says where its file or folder is, if not where it belongs."""
    if weights is None:
        return make_embedder(name)
    takes = inspect.signature(EMBEDDERS[name]).parameters if name in EMBEDDERS else {}
    return make_embedder(name, **{"model" if "model" in takes else "weights": weights})


def make_networks(protocol: Protocol, weights: Mapping[str, str]) -> dict[str, AudioEmbedder]:
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
    networks: dict[str, AudioEmbedder] = {}
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


def embed_text(network: AudioEmbedder) -> Callable[[Sequence[str]], Tensor] | None:
    """How a network reads captions, unit vectors (B, D) of B captions; None of one without words."""
    encoder = getattr(network, "encoder", None)
    return None if encoder is None else encoder.embed_text


def identity(network: AudioEmbedder) -> EncoderFingerprint:
    """What a network is known by among rewards; only audio-text encoders are any."""
    encoder = getattr(network, "encoder", None)
    return (
        EncoderFingerprint.of(encoder)
        if isinstance(encoder, AudioTextEncoder)
        else EncoderFingerprint(network.checksum, ())
    )


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
