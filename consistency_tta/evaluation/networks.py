"""The networks that a protocol names, with a check that they are the ones it pins."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.reward_lineage import EncoderFingerprint
from consistency_tta.contracts import AudioEncoder
from consistency_tta.evaluation.protocol import Protocol
from consistency_tta.metrics.encoders import ENCODERS, make_encoder
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.bundled import TRANSFORMERS, resolve
from consistency_tta.storage.checksum import checksum


def weights_by_name(weights: str | list[str] | None) -> dict[str, str]:
    """Files or folders of networks' weights by the networks' names, from ``mn04=path``.

    Args:
        weights: several in a list, or with commas between them.

    Raises:
        ConfigurationError: it has another form.
    """
    several = (weights.split(",") if isinstance(weights, str) else weights) or []
    places = dict(one.partition("=")[::2] for one in several)
    for name, place in places.items():
        if not name or not place:
            raise ConfigurationError(
                f"expected --weights NAME=PATH, such as mn04=checkpoints/mn04_as_mAP_432.pt, got {weights}"
            )
    return places


def make_network(name: str, weights: str | None = None) -> AudioEncoder:
    """A network by its short name or class.

    Args:
        name: see :func:`consistency_tta.metrics.encoders.make_encoder`.
        weights: its file or folder; its default place if None.

    Raises:
        ConfigurationError: it has no checksum, which results and the cache need.
    """
    if weights is None:
        network = make_encoder(name)
    else:
        parameters = inspect.signature(ENCODERS[name]).parameters if name in ENCODERS else {}
        network = make_encoder(name, **{"model" if "model" in parameters else "weights": weights})
    if network.checksum is None:
        raise ConfigurationError(f"expected a `checksum` of {name}, by which results and the cache know it, got None")
    return network


def make_networks(protocol: Protocol, weights: Mapping[str, str]) -> dict[str, AudioEncoder]:
    """All networks of a protocol, by its names for them.

    Args:
        protocol: which names them.
        weights: their files or folders, by name.

    Raises:
        ConfigurationError: ``weights`` names another network, or a checkpoint is not the one that the protocol pins.
            The values of another network would not be the protocol's.
    """
    if others := weights.keys() - protocol.networks.keys():
        raise ConfigurationError(
            f"expected weights of {', '.join(protocol.networks)}, the networks of {protocol.name}, got some of "
            f"{', '.join(sorted(others))}"
        )
    networks: dict[str, AudioEncoder] = {}
    for name, settings in protocol.networks.items():
        network = make_network(name, weights.get(name))
        if settings.sha256 not in (None, network.checksum):
            raise ConfigurationError(
                f"{name}: the protocol {protocol.name} is pinned to weights with SHA-256 {settings.sha256}"
                f"{f' ({settings.weights})' if settings.weights else ''}, got {network.checksum}: fetch those, or copy "
                f"{protocol.source.name}, give it a name of its own, and put the hash you have into it"
            )
        networks[name] = network
    return networks


def fingerprint(network: AudioEncoder) -> EncoderFingerprint:
    """What identifies a network among rewards; only an encoder with a text side can be one."""
    return EncoderFingerprint.of(network) if network.embeds_text else EncoderFingerprint(network.checksum, ())


def fingerprint_of(weights: str) -> EncoderFingerprint:
    """What identifies a CLAP.

    Args:
        weights: the SHA-256 of its file, or a file that ``TransformersClap`` cannot load, which identify this file
            alone; or as for ``TransformersClap``.

    Raises:
        FileNotFoundError: it does not exist.
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
