"""The networks a protocol asks for, and whether they are the ones it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from consistency_tta.bundled import TRANSFORMERS, resolve
from consistency_tta.components.clap import TransformersClap
from consistency_tta.evaluation.protocol import Protocol, file_sha256
from consistency_tta.metrics.embedder import AudioEmbedder, Heard
from consistency_tta.metrics.mn04 import EMBEDDING_DIM, SAMPLE_RATE, AudioTagger


class _Mn04(AudioEmbedder):
    name, sample_rate, num_features = "mn04", SAMPLE_RATE, EMBEDDING_DIM

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.network = AudioTagger.from_checkpoint(Path(weights)).eval().requires_grad_(False)
        self.checksum = file_sha256(Path(weights))

    def forward(self, waveform: Tensor) -> Heard:
        logits, vectors = self.network(waveform, self.sample_rate)
        return Heard(vectors[:, None], logits)


class _TinyClap(AudioEmbedder):
    name = "tiny-clap"

    def __init__(self, model: str = "tiny-clap") -> None:
        super().__init__()
        self.encoder = TransformersClap(model)
        self.sample_rate = self.encoder.sample_rate
        self.num_features = self.encoder.clap.model.config.projection_dim
        self.checksum = file_sha256(Path(resolve(model, TRANSFORMERS)) / "model.safetensors")

    def forward(self, waveform: Tensor) -> Heard:
        return Heard(self.encoder.embed_audio(waveform)[:, None])


def make_network(name: str, weights: str | None = None) -> AudioEmbedder:
    """A network by its short name; ``weights`` says where its file or folder is, if not where it belongs."""
    made: dict[str, Callable[..., AudioEmbedder]] = {"mn04": _Mn04, "tiny-clap": _TinyClap}
    if name not in made:
        raise ValueError(f"expected a network, one of {', '.join(made)}, got {name}")
    return made[name](*([] if weights is None else [weights]))


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


def checksum_of(weights: str) -> str:
    """SHA-256 of a CLAP's weights, as its embedder has it.

    Args:
        weights: the checksum itself, a file, a folder of transformers, or a bundled CLAP's name.
    """
    if re.fullmatch("[0-9a-f]{64}", weights):
        return weights
    path = Path(resolve(weights, TRANSFORMERS))
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"expected a SHA-256 of 64 digits, or weights, a file or a folder with model.safetensors, got {weights}"
        )
    return file_sha256(file)
