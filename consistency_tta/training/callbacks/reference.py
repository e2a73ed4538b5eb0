"""Recordings that sounds are measured against, as an embedder hears them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from consistency_tta.audio.recordings import check_recordings, read_recording, recordings
from consistency_tta.contracts import AudioEmbedding, AudioEncoder


def hear(embedder: AudioEncoder, waveform: Tensor, sample_rate: int, device: torch.device) -> AudioEmbedding:
    """What the embedder makes of waveforms (B, samples) at any rate."""
    return embedder.embed_windows(waveform.to(device, torch.float32), sample_rate)


def check_reference(reference: str, embedder: AudioEncoder) -> None:
    """See that a reference can be heard, before a training starts whose first validation asks for it.

    Args:
        reference, embedder: as :func:`hear_reference` takes them.

    Raises:
        FileNotFoundError: it is not there, or holds nothing.
        ValueError: the file's vectors are not the embedder's, or a recording cannot be used.
    """
    path = Path(reference)
    if path.is_file():
        _held(path, embedder)
    else:
        check_recordings(path, min_seconds=embedder.min_samples / embedder.sample_rate)


def hear_reference(
    reference: str, embedder: AudioEncoder, device: torch.device, rank: int = 0, world_size: int = 1
) -> Iterator[AudioEmbedding]:
    """One process's share of a reference, clip by clip, each at its own length.

    Args:
        reference: folder of recordings, or a safetensors file with the embedder's ``vectors`` (N, W, D) or (N, D) of N
            recordings and, for metrics that ask for them, ``logits`` (N, K).
        embedder: hears the recordings.
        device: where it does.
        rank, world_size: of the process.

    Raises:
        FileNotFoundError, ValueError: as :func:`check_reference`.
    """
    path, share = Path(reference), slice(rank, None, world_size)
    if path.is_file():
        vectors, logits = _held(path, embedder)
        for index in range(len(vectors))[share]:
            row = slice(index, index + 1)
            yield AudioEmbedding(vectors[row].to(device), None if logits is None else logits[row].to(device))
        return
    for file in recordings(path)[share]:
        sound = read_recording(file)
        yield hear(embedder, sound.waveform[None], sound.sample_rate, device)


def _held(path: Path, embedder: AudioEncoder) -> tuple[Tensor, Tensor | None]:
    """A file's vectors (N, W, D) and logits (N, K), if it has some."""
    held = load_file(path)
    vectors = held.get("vectors", torch.empty(0))
    if vectors.ndim not in (2, 3) or vectors.shape[-1] != embedder.num_features:
        raise ValueError(
            f"expected `vectors` (N, W, {embedder.num_features}) of {embedder.name} in {path}, "
            f"got {tuple(vectors.shape)} beside {sorted(held)}"
        )
    return vectors if vectors.ndim == 3 else vectors[:, None], held.get("logits")
