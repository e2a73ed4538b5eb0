"""Recordings that sounds are measured against, as an embedder hears them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import soundfile
import torch
from safetensors.torch import load_file
from torch import Tensor

from consistency_tta.captions import EXTENSIONS
from consistency_tta.metrics.embedder import AudioEmbedder, Heard
from consistency_tta.resample import Resample


def hear(embedder: AudioEmbedder, waveform: Tensor, sample_rate: int, device: torch.device) -> Heard:
    """What the embedder makes of waveforms (B, samples) at any rate."""
    waveform = waveform.to(device, torch.float32)
    return embedder(Resample(sample_rate, embedder.sample_rate).to(device)(waveform))


def recordings(folder: Path) -> list[Path]:
    """All sound files in a folder and its subfolders, in order.

    Raises:
        FileNotFoundError: there are none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    if not files:
        raise FileNotFoundError(f"expected recordings ({', '.join(EXTENSIONS)}) in {folder}, found none")
    return files


def read_waveform(file: Path) -> tuple[Tensor, int]:
    """A sound file as mono waveform (1, samples), and its sample rate in Hz."""
    channels, sample_rate = soundfile.read(file, dtype="float32", always_2d=True)
    return torch.from_numpy(channels.mean(axis=1))[None], sample_rate


def hear_reference(
    reference: str, embedder: AudioEmbedder, device: torch.device, rank: int = 0, world_size: int = 1
) -> Iterator[Heard]:
    """One process's share of a reference, clip by clip, each at its own length.

    Args:
        reference: folder of recordings, or a safetensors file with the embedder's ``vectors`` (N, W, D) or (N, D) of N
            recordings and, for metrics that ask for them, ``logits`` (N, K).
        embedder: hears the recordings.
        device: where it does.
        rank, world_size: of the process.

    Raises:
        FileNotFoundError: it is not there, or holds nothing.
        ValueError: the file's vectors are not the embedder's.
    """
    path = Path(reference)
    if path.is_file():
        held = load_file(path)
        vectors = held.get("vectors", torch.empty(0))
        if vectors.ndim not in (2, 3) or vectors.shape[-1] != embedder.num_features:
            raise ValueError(
                f"expected `vectors` (N, W, {embedder.num_features}) of {embedder.name} in {path}, "
                f"got {tuple(vectors.shape)} beside {sorted(held)}"
            )
        vectors = vectors if vectors.ndim == 3 else vectors[:, None]
        logits = held.get("logits")
        for index in range(rank, len(vectors), world_size):
            row = slice(index, index + 1)
            yield Heard(vectors[row].to(device), None if logits is None else logits[row].to(device))
        return
    for file in recordings(path)[rank::world_size]:
        yield hear(embedder, *read_waveform(file), device)
