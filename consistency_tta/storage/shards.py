"""Encoded clips on disk: what ``encode`` and the teacher's own samples write, and ``LatentsDataModule`` reads.

A folder in the format ``safetensors`` has ``captions-<number>.jsonl`` with a line ``{"id": ..., "caption": ...}`` per
clip, and ``latents-<number>.safetensors`` with ``moments`` (clips, 2 C, *) in float16, the mean and log-variance of the
autoencoder's posterior, unscaled. Where ``encode`` was asked for more, the latter also has

    text             (tokens of all clips, width) float16, the captions' embeddings without padding
    text_ends        (clips,) int64, where each clip's tokens end
    audio            (clips, D) float32, the recordings' embeddings by an audio encoder
    teacher_latent   (clips, C, *) float16, scaled, the end of a guided teacher's trajectory
    noise_seed       (clips,) int64, of the noise that it begins at (:func:`noise_of_seed`)
    guidance_scale   (clips,) float32, its w

In the format ``parquet`` it has ``latents-<number>.parquet`` with all of this
(:mod:`consistency_tta.storage.parquet_shards`), of which trainings make the former
(:mod:`consistency_tta.storage.local_copy`).

Why trainings read no Arrow: read at random, 20 rows of 32 kB took 0.5 ms of CPU time as slices of safetensors, 1.2 ms
as bytes in Arrow of Hugging Face's ``datasets``, and 11.5 ms as its Arrow arrays. Both are memory-mapped and index any
single clip, as resuming inside an epoch needs; of Parquet whole pages must be decoded for one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from consistency_tta.runtime.errors import DataError, ShapeError, shortened
from consistency_tta.storage.atomic_file import save_tensors, write_file
from consistency_tta.storage.parquet_shards import to_parquet
from consistency_tta.storage.shard_captions import ShardCaptions

#: Of a folder's files.
Format = Literal["safetensors", "parquet"]


def captions_file(latents: Path) -> Path:
    """The captions of a file of latents."""
    return latents.with_name(latents.name.replace("latents-", "captions-")).with_suffix(".jsonl")


def latents_file(folder: Path, number: int, file_format: Format = "safetensors") -> Path:
    """The latents of a shard."""
    return folder / f"latents-{number:04d}.{file_format}"


def noise_of_seed(seed: int, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers of the given shape, float32 on the CPU, that depend on the seed alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def write_shard(
    folder: Path,
    number: int,
    moments: Tensor,
    captions: Sequence[str],
    ids: Sequence[str],
    more: Mapping[str, Tensor] | None = None,
    file_format: Format = "safetensors",
) -> None:
    """Write one shard; its latents last and by renaming, so that a shard that exists is whole.

    Args:
        folder: made if need be.
        number: of the shard.
        moments: (clips, 2 C, *).
        captions, ids: one per clip.
        more: further tensors of the module's docstring.
        file_format: of the shard.

    Raises:
        ShapeError: the numbers of clips differ.
        DataError: a tensor is not finite.
        MissingExtraError: pyarrow, for Parquet, is not installed.
    """
    latents = latents_file(folder, number, file_format)
    pairs = zip(captions, ids, strict=True)
    lines = [json.dumps({"id": name, "caption": caption}, ensure_ascii=False) for caption, name in pairs]
    if len(lines) != len(moments):
        raise ShapeError(f"expected one caption per latent, got {len(lines)} captions for {len(moments)} latents")
    tensors = {"moments": moments.half(), **(more or {})}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise DataError(f"{latents}: expected finite numbers as {name}, got NaN or infinity in {tensor.dtype}")
    if file_format == "parquet":
        write_file(latents, to_parquet(tensors, captions, ids))
        return
    write_file(captions_file(latents), ("\n".join(lines) + "\n").encode())
    save_tensors(tensors, latents)


class Shard:
    """The clips of a file of latents, each read from disk when it is wanted.

    Args:
        latents: the file.

    Attributes:
        captions: caption and id of each clip.
        contents: names of the tensors that it has.

    Raises:
        FileNotFoundError: there is no file of captions.
        DataError: the file is not whole, or the numbers of latents and captions differ.
    """

    def __init__(self, latents: Path) -> None:
        self.latents, self.captions = latents, ShardCaptions(captions_file(latents))
        try:
            with safe_open(latents, framework="pt") as file:
                self.contents = frozenset(file.keys())
                num_latents = file.get_slice("moments").get_shape()[0]
        except SafetensorError as error:
            raise DataError(
                f"{latents}: expected a whole file of latents, got one that cannot be read ({shortened(error)}): copy "
                "it again, or remove it and encode again"
            ) from error
        if num_latents != len(self.captions):
            raise DataError(f"{latents} has {num_latents} latents for {len(self.captions)} captions: encode again")
        self._slices: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.captions)

    def __getstate__(self) -> dict[str, object]:
        # Open files cannot be sent to a worker that is not forked: it opens its own.
        return self.__dict__ | {"_slices": {}}

    def tensor(self, name: str, row: int) -> Tensor:
        """A clip's row of a tensor with a row per clip, as it is stored."""
        return self._slice(name)[row]

    def text(self, row: int) -> Tensor:
        """The embedding (tokens, width) of a clip's caption, without padding."""
        ends = self._slice("text_ends")
        begin = int(ends[row - 1]) if row else 0
        return self._slice("text")[begin : int(ends[row])]

    def _slice(self, name: str) -> Any:
        if name not in self._slices:
            self._slices[name] = safe_open(self.latents, framework="pt").get_slice(name)
        return self._slices[name]
