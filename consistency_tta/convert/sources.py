"""Finds what each of the given files holds: U-Net, codec, text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from consistency_tta.convert.checkpoint import Checkpoint, read_all
from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.storage.text import parse_json, read_text

#: Before the names of an autoencoder: in AudioLDM's checkpoints, in ConsistencyTTA's, and alone in its file.
AUTOENCODER_PREFIXES = ("first_stage_model.", "vae.", "")


@dataclass
class Sources:
    """Files by what they hold.

    Attributes:
        networks: U-Nets and perhaps a text encoder.
        codec: autoencoder and vocoder; the same file as ``networks`` where it has them and no other does.
        stft: TANGO's buffers of the mel front end.
    """

    networks: Checkpoint | None = None
    codec: Checkpoint | None = None
    stft: Checkpoint | None = None

    def settings(self, name: str) -> dict[str, Any]:
        """A JSON file in the autoencoder's folder; empty if it has none."""
        path = self.codec.path.with_name(name) if self.codec else Path(name)
        if self.codec is None or not path.is_file():
            return {}
        try:
            return dict(parse_json(read_text(path), str(path)))
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is no JSON dictionary: {error}") from None


def classify_checkpoints(paths: Sequence[Path], network_prefixes: Sequence[str]) -> Sources:
    """Read files and folders, and find by the names of their tensors what each holds.

    Args:
        paths: files, and folders of files.
        network_prefixes: a file of networks has names that begin with one of these.

    Raises:
        CheckpointError: if a file holds nothing that is known, or two hold the same.
    """
    sources = Sources()
    for checkpoint in read_all(paths):
        if any(checkpoint.has(prefix) for prefix in network_prefixes):
            role = "networks"
        elif autoencoder_prefix(checkpoint) is not None:
            role = "codec"
        elif checkpoint.has("mel_basis"):
            role = "stft"
        else:
            raise CheckpointError(
                f"{checkpoint.path} holds neither a U-Net (names beginning {', '.join(network_prefixes)}) nor "
                f"AudioLDM's autoencoder, but {len(checkpoint.tensors)} others, such as "
                f"{', '.join(list(checkpoint.tensors)[:4])}"
            )
        if getattr(sources, role) is not None:
            raise CheckpointError(
                f"both {getattr(sources, role).path} and {checkpoint.path} hold {role}: give one of them only"
            )
        setattr(sources, role, checkpoint)
    if sources.codec is None and sources.networks is not None and autoencoder_prefix(sources.networks) is not None:
        sources.codec = sources.networks
    return sources


def autoencoder_prefix(checkpoint: Checkpoint) -> str | None:
    """What stands before the names of an autoencoder in the middle of one; None if a file has none."""
    for prefix in AUTOENCODER_PREFIXES:
        if checkpoint.has(f"{prefix}encoder.mid.") or checkpoint.has(f"{prefix}decoder.mid."):
            return prefix
    return None


def codec_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The tensors of autoencoder and vocoder, without prefix.

    Raises:
        CheckpointError: if there are none.
    """
    prefix = autoencoder_prefix(checkpoint)
    if prefix is None:
        raise CheckpointError(
            f"{checkpoint.path} does not hold AudioLDM's autoencoder, but {len(checkpoint.tensors)} others, such as "
            f"{', '.join(list(checkpoint.tensors)[:4])}"
        )
    tensors = checkpoint.under(prefix)
    tensors.pop("scale_factor", None)
    return tensors
