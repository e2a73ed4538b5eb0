"""Embeddings on disk, as tensors: the embeddings of all sounds of an evaluation, of which metrics read some at a time.

A file's pages are mapped into memory when they are touched, and the system takes them back when memory is short. So
50,000 sounds need only the memory of the few that are being read.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.runtime.errors import DataError


class EmbeddingMemmap:
    """:class:`consistency_tta.contracts.AudioEmbedding` of one sound after another, all of the same shapes.

    Args:
        clips: the largest number of sounds.
        folder: on the disk to use. Its file has no name there, and vanishes with the tensor.
    """

    def __init__(self, clips: int, folder: Path) -> None:
        self.clips = clips
        self.folder = folder
        self.number = 0
        self.rows: AudioEmbedding | None = None

    def extend(self, several: Sequence[AudioEmbedding]) -> None:
        """Add some sounds, vectors (W, D) and logits (K,) of each."""
        for one in several:
            if self.rows is None:
                logits = None if one.logits is None else self._room_for(one.logits)
                self.rows = AudioEmbedding(self._room_for(one.vectors), logits)
            self.rows.vectors[self.number] = one.vectors
            if self.rows.logits is not None and one.logits is not None:
                self.rows.logits[self.number] = one.logits
            self.number += 1

    def rows_added(self) -> AudioEmbedding:
        """All sounds added so far, vectors (N, W, D) and logits (N, K).

        Raises:
            DataError: there are none.
        """
        if self.rows is None:
            raise DataError("expected sounds, got none")
        logits = self.rows.logits
        return AudioEmbedding(self.rows.vectors[: self.number], None if logits is None else logits[: self.number])

    def _room_for(self, one: Tensor) -> Tensor:
        return on_disk((self.clips, *one.shape), self.folder)


def on_disk(shape: Sequence[int], folder: Path) -> Tensor:
    """Zeros of a shape, float32, in a file that vanishes with the tensor.

    Raises:
        OSError: the disk is too full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    needed = 4 * math.prod(shape)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        try:
            # At once: to write to a mapped page for which a full disk has no room ends the process.
            _take_room(file.fileno(), needed)
        except OSError as error:
            free = shutil.disk_usage(folder).free
            raise OSError(
                f"expected {needed / 1e9:.1f} GB for embeddings, got {free / 1e9:.1f} GB free in {folder} "
                f"({error}): make room, or choose a folder on another disk with --cache"
            ) from error
        return torch.from_file(file.name, shared=True, size=math.prod(shape)).view(*shape)


def _take_room(file: int, size: int) -> None:
    """Make a file so long that its disk has the room; where the system cannot, the room is only looked for."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    elif size > os.fstatvfs(file).f_bavail * os.fstatvfs(file).f_frsize:
        raise OSError("No space left on device")
