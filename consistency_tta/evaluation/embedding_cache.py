"""Embeddings kept on disk, so that a second evaluation does not compute them again.

Each sound has a file for each network. Its name depends on the content of the sound's file, the network's weights
and what was done to the sound, so no file is ever out of date, and any number of evaluations may share a folder.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from consistency_tta.contracts import AudioEmbedding, AudioEncoder
from consistency_tta.storage.atomic_file import save_tensors

#: Changes when equal sounds, weights and settings would have other embeddings.
FORMAT = 1


class EmbeddingCache:
    """Files of :class:`consistency_tta.contracts.AudioEmbedding` of one sound or text each.

    Args:
        folder: of the files; created when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, content: str, network: AudioEncoder, settings: object) -> Path:
        """The file for a sound or caption.

        Args:
            content: SHA-256 of the sound's file, or of the caption.
            network: that embeds it.
            settings: what is done to the sound first, as JSON takes it.
        """
        key = json.dumps([FORMAT, content, network.checksum, settings], sort_keys=True)
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / network.name / digest[:2] / f"{digest}.safetensors"

    def load(self, path: Path) -> AudioEmbedding | None:
        """The embedding in a file; None if there is no file, or it is damaged."""
        try:
            tensors = load_file(path)
            return AudioEmbedding(tensors["vectors"], tensors.get("logits"))
        except (OSError, SafetensorError, KeyError):
            return None

    def save(self, path: Path, embedding: AudioEmbedding) -> None:
        """Write a file; another process that reads it meanwhile finds the whole file or none."""
        tensors = {"vectors": embedding.vectors} | ({} if embedding.logits is None else {"logits": embedding.logits})
        save_tensors(tensors, path)
