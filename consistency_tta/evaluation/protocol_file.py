"""Reads a protocol's YAML file, and raises an error for one that is incomplete or contradictory."""

from __future__ import annotations

import hashlib
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from consistency_tta.evaluation.protocol import (
    RESAMPLER,
    AudioSettings,
    BootstrapSettings,
    ClipList,
    MetricSettings,
    NetworkSettings,
    Protocol,
    ProtocolSettings,
)
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.runtime.suggest import nearest, suggest
from consistency_tta.storage.checksum import checksum
from consistency_tta.storage.yaml_file import read_yaml

#: The protocols that come with the package, a YAML file for each, and their lists of clips.
PROTOCOLS = Path(__file__).parent / "protocols"


def protocol_names() -> list[str]:
    """The protocols that come with the package."""
    return sorted(file.stem for file in PROTOCOLS.glob("*.yaml"))


def load_protocol(name: str | Path) -> Protocol:
    """Read a protocol.

    Args:
        name: one of :func:`protocol_names`, or a YAML file.

    Raises:
        FileNotFoundError: there is neither.
        ConfigurationError: the file is not a protocol, or its list of clips is not the one it pins.
    """
    source = Path(name) if str(name).endswith((".yaml", ".yml")) else PROTOCOLS / f"{name}.yaml"
    if not source.is_file():
        near = nearest(str(name), protocol_names())
        raise FileNotFoundError(
            f"expected a protocol, one of {', '.join(protocol_names())}, or a YAML file, got {name}"
            f"{f': did you mean {near}?' if near else ''}"
        )
    content = source.read_bytes()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ProtocolSettings)
    try:
        tree = read_yaml(source)
        settings = parser.instantiate(parser.parse_object(tree if isinstance(tree, dict) else {}))
    except DataError as error:
        raise ConfigurationError(str(error)) from None
    except ArgumentError as error:
        known = [ProtocolSettings, ClipList, AudioSettings, NetworkSettings, MetricSettings, BootstrapSettings]
        raise ConfigurationError(f"{source} is not a protocol: {suggest(str(error), known)}") from None
    protocol = Protocol(**settings, source=source, sha256=hashlib.sha256(content).hexdigest())
    _check(protocol)
    return protocol


def _check(protocol: Protocol) -> None:
    """Refuse a protocol that cannot be followed as it is written."""

    def expect(right: bool, expected: str, got: object) -> None:
        if not right:
            raise ConfigurationError(f"{protocol.source}: expected {expected}, got {got}")

    audio, bootstrap = protocol.audio, protocol.bootstrap
    expect(audio.resampler == RESAMPLER, f"the resampler {RESAMPLER}, the only one of this version", audio.resampler)
    expect(audio.sample_rate > 0, "a positive audio.sample_rate", audio.sample_rate)
    expect(audio.seconds > 0, "positive audio.seconds", audio.seconds)
    expect(audio.peak is None or 0 < audio.peak <= 1, "an audio.peak in (0, 1], or null", audio.peak)
    expect(0 < bootstrap.confidence < 1, "a bootstrap.confidence in (0, 1)", bootstrap.confidence)
    expect(min(bootstrap.resamples, bootstrap.set_resamples) > 1, "at least 2 resamples", bootstrap)
    names = [settings.name for settings in protocol.metrics]
    expect(0 < len(names) == len(set(names)), "metrics, each with a network once", ", ".join(names) or "none")
    for settings in protocol.metrics:
        listed = settings.network is None or settings.network in protocol.networks
        expect(listed, f"networks among {', '.join(protocol.networks)} in metrics", settings.network)
    if protocol.clip_list is not None:
        expect(protocol.clip_list.is_file(), "the list of clips in its folder", f"no {protocol.clip_list}")
        found = checksum(protocol.clip_list)
        expect(
            found == protocol.clips.sha256, f"clips.sha256 of {protocol.clip_list.name}, {found}", protocol.clips.sha256
        )
