"""The clips of a folder that ``consistency-tta encode`` wrote."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.encoding_manifest import read_manifest
from consistency_tta.storage.shards import Shard, noise_of_seed


class EncodedClip(NamedTuple):
    """A clip as ``encode`` wrote it.

    Attributes:
        moments: (2 C, *).
        caption, id: of the clip.
        text: the caption's embedding (tokens, width); None where there is none, as for all that follow.
        audio: the recording's embedding (D,), by the checksum of its encoder.
        trajectory: noise (C, *), latent (C, *) and w () of a teacher.
    """

    moments: Tensor
    caption: str
    id: str
    text: Tensor | None = None
    audio: tuple[str, Tensor] | None = None
    trajectory: tuple[Tensor, Tensor, Tensor] | None = None


class LatentsDataset(Dataset):
    """The clips of a folder that ``consistency-tta encode`` wrote; memory-mapped, so that its size does not matter.

    Args:
        folder: with ``latents-*.safetensors`` and ``captions-*.jsonl``.
        text: whether to read the captions' embeddings, where the folder has them.
        trajectories: whether to read a teacher's trajectories, where the folder has them.

    Attributes:
        manifest: of :mod:`consistency_tta.storage.encoding_manifest`; None for folders that have none.
        encoders: the manifest's networks whose results are read: ``codec``, and ``text``, ``audio`` and ``teacher``.

    Raises:
        FileNotFoundError: if there is no such folder, or a file is missing in it.
        DataError: if a file of latents and its captions differ in number, or the folder is not complete.
    """

    def __init__(self, folder: str | Path, text: bool = True, trajectories: bool = True) -> None:
        if not Path(folder).is_dir():
            raise FileNotFoundError(
                f"the folder of latents {folder} does not exist or is no folder: make it with `consistency-tta encode`"
            )
        files = sorted(Path(folder).glob("latents-*.safetensors"))
        if not files:
            raise FileNotFoundError(f"no latents-*.safetensors in {folder}: make them with `consistency-tta encode`")
        self.manifest = read_manifest(Path(folder))
        if self.manifest is not None and self.manifest["shards"] != len(files):
            raise DataError(
                f"{folder} has {len(files)} of {self.manifest['shards']} files of latents: run the same `encode` "
                "command again, which goes on where it was stopped"
            )
        self.shards = [Shard(file) for file in files]
        everywhere = frozenset.intersection(*(shard.contents for shard in self.shards))
        self.has_text = text and "text" in everywhere
        self.has_trajectories = trajectories and "teacher_latent" in everywhere
        audio = (self.manifest or {}).get("audio", {}) if "audio" in everywhere else {}
        self.audio_checksum: str | None = audio.get("sha256")
        read = {"text": self.has_text, "teacher": self.has_trajectories}
        self.encoders: dict[str, Any] = {
            name: self.manifest[name]
            for name in ("codec", "text", "audio", "teacher")
            if self.manifest is not None and name in self.manifest and read.get(name, True)
        }
        self._ends = list(accumulate(len(shard) for shard in self.shards))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: int | tuple[int, int]) -> EncodedClip:
        """A clip; epochs do not differ."""
        index = key[1] if isinstance(key, tuple) else key
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        shard, row = self.shards[number], index - (self._ends[number - 1] if number else 0)
        return EncodedClip(
            shard.tensor("moments", row).float(),
            *shard.captions[row],
            shard.text(row).float() if self.has_text else None,
            (self.audio_checksum, shard.tensor("audio", row)) if self.audio_checksum else None,
            self._trajectory(shard, row) if self.has_trajectories else None,
        )

    def _trajectory(self, shard: Shard, row: int) -> tuple[Tensor, Tensor, Tensor]:
        latent = shard.tensor("teacher_latent", row).float()
        noise = noise_of_seed(int(shard.tensor("noise_seed", row)), latent.shape)
        return noise, latent, shard.tensor("guidance_scale", row)
