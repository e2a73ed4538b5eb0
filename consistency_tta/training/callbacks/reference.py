"""The reference of metrics in a training: embeddings of recordings, or recordings to embed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from consistency_tta.audio.recordings import check_recordings, read_recording, recordings
from consistency_tta.contracts import AudioEmbedding, AudioEncoder, Batch, Codec, to_mono
from consistency_tta.runtime.errors import DataError

#: The reference that is the validation set.
VALIDATION = "validation"


def check_reference(reference: str, encoder: AudioEncoder) -> None:
    """Check that a reference can be embedded, before a training starts whose first validation needs it.

    Args:
        reference, encoder: as :func:`reference_embeddings` takes them.

    Raises:
        FileNotFoundError: the file or folder does not exist, or is empty.
        DataError: the file's vectors have another width than the encoder's.
        ValueError: a recording cannot be used.
    """
    path = Path(reference)
    if path.is_file():
        _stored(path, encoder)
    else:
        check_recordings(path, min_seconds=encoder.min_samples / encoder.sample_rate)


def reference_embeddings(
    reference: str, encoder: AudioEncoder, device: torch.device, rank: int = 0, world_size: int = 1
) -> Iterator[AudioEmbedding]:
    """The embeddings of one process's share of a reference, clip by clip, each at its own length.

    Args:
        reference: folder of recordings, or a safetensors file with the encoder's ``vectors`` (N, W, D) or (N, D) of N
            recordings and, for metrics that need them, ``logits`` (N, K).
        encoder: embeds the recordings.
        device: of the encoder.
        rank, world_size: of the process.

    Raises:
        FileNotFoundError, DataError, ValueError: as :func:`check_reference`.
    """
    path, share = Path(reference), slice(rank, None, world_size)
    if path.is_file():
        vectors, logits = _stored(path, encoder)
        for index in range(len(vectors))[share]:
            row = slice(index, index + 1)
            yield AudioEmbedding(vectors[row].to(device), None if logits is None else logits[row].to(device))
        return
    for file in recordings(path)[share]:
        sound = read_recording(file)
        yield encoder.embed_windows(sound.waveform[None].to(device, torch.float32), sound.sample_rate)


def validation_embeddings(
    loader: Any, codec: Codec, encoder: AudioEncoder, device: torch.device, rank: int = 0, world_size: int = 1
) -> Iterator[AudioEmbedding]:
    """The embeddings of one process's share of the validation set's clips, a batch at a time.

    Args:
        loader: of the validation set.
        codec: decodes the means of the posteriors where the data are latents, so that the reference has the codec's
            faults, as generated sounds have.
        encoder: embeds the clips.
        device: of codec and encoder.
        rank, world_size: of the process.
    """
    share, size = range(rank, len(loader.dataset), world_size), loader.batch_size or 1
    for start in range(0, len(share), size):
        batch: Batch = loader.collate_fn([loader.dataset[index] for index in share[start : start + size]])
        waveform = batch.waveform
        if waveform is None:
            assert batch.moments is not None  # a batch has one of them
            waveform = codec.decode(codec.moments_to_latent(batch.moments.to(device, torch.float32)))
        yield encoder.embed_windows(to_mono(waveform).to(device, torch.float32), codec.sample_rate)


def _stored(path: Path, encoder: AudioEncoder) -> tuple[Tensor, Tensor | None]:
    """A file's vectors (N, W, D) and logits (N, K), if it has some."""
    stored = load_file(path)
    vectors = stored.get("vectors", torch.empty(0))
    if vectors.ndim not in (2, 3) or vectors.shape[-1] != encoder.num_features:
        raise DataError(
            f"expected `vectors` (N, W, {encoder.num_features}) of {encoder.name} in {path}, "
            f"got {tuple(vectors.shape)} among {sorted(stored)}"
        )
    return vectors if vectors.ndim == 3 else vectors[:, None], stored.get("logits")
