"""Latents and captions on disk: what ``encode`` and the teacher's own samples write, and ``LatentsDataModule`` reads.

A folder has ``latents-<number>.safetensors`` with ``moments`` (clips, 2 C, *) in float16, the mean and
log-variance of the autoencoder's posterior, unscaled, and ``captions-<number>.jsonl`` with a line
``{"id": ..., "caption": ...}`` per clip.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from consistency_tta.runtime.errors import DataError, ShapeError
from consistency_tta.storage.atomic_file import save_tensors
from consistency_tta.storage.text import parse_json, read_text


def captions_file(latents: Path) -> Path:
    """The captions of a file of latents."""
    return latents.with_name(latents.name.replace("latents-", "captions-")).with_suffix(".jsonl")


def latents_file(folder: Path, number: int) -> Path:
    """The latents of a shard."""
    return folder / f"latents-{number:04d}.safetensors"


def write_shard(folder: Path, number: int, moments: Tensor, captions: Sequence[str], ids: Sequence[str]) -> None:
    """Write one shard; its latents last and by renaming, so that a shard that exists is whole.

    Args:
        folder: made if need be.
        number: of the shard.
        moments: (clips, 2 C, *).
        captions, ids: one per clip.
    """
    folder.mkdir(parents=True, exist_ok=True)
    latents = latents_file(folder, number)
    pairs = zip(captions, ids, strict=True)
    lines = [json.dumps({"id": name, "caption": caption}, ensure_ascii=False) for caption, name in pairs]
    if len(lines) != len(moments):
        raise ShapeError(f"expected one caption per latent, got {len(lines)} captions for {len(moments)} latents")
    captions_file(latents).write_text("\n".join(lines) + "\n", encoding="utf-8")
    save_tensors({"moments": moments.half()}, latents)


def read_shard_captions(latents: Path) -> list[tuple[str, str]]:
    """(caption, id) of each clip of a shard.

    Args:
        latents: the shard's file of latents.

    Raises:
        FileNotFoundError: there is no file of captions.
        DataError: a line is no object with a caption and an id, with its number.
    """
    file = captions_file(latents)
    if not file.is_file():
        raise FileNotFoundError(f"{latents} has no captions, expected {file}: encode again")
    rows = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if line.strip():
            place = f"{file}, line {number}"
            row = parse_json(line, place)
            if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("caption", "id")):
                raise DataError(f"{place}: expected an object with caption and id, got {row!s:.70}: encode again")
            rows.append((row["caption"], row["id"]))
    return rows
