"""Embeddings of recordings: the reference of distances, and clips that no model was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from consistency_tta.audio.recordings import read_recording
from consistency_tta.contracts import AudioEmbedding
from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.atomic_file import save_tensors
from tools.esc10_captions import recordings
from tools.esc10_classes import CLASSES


@dataclass(frozen=True)
class RealClips:
    """Embeddings (N, D) of recordings of ESC-10, and which of the ten classes each is (N,).

    Attributes:
        reference: folds 1 to 4, to which distances are computed.
        reference_labels: their classes.
        train: those of them that models were trained on.
        held_out: fold 5.
        held_out_labels: their classes.
        held_out_logits: the encoder's logits of fold 5 (N, K); K = 0 for an encoder without.
    """

    reference: Tensor
    reference_labels: Tensor
    train: Tensor
    held_out: Tensor
    held_out_labels: Tensor
    held_out_logits: Tensor

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(vars(self), file)

    @property
    def held_out_embedding(self) -> AudioEmbedding:
        """What the encoder computed of fold 5."""
        logits = self.held_out_logits if self.held_out_logits.shape[1] else None
        return AudioEmbedding(self.held_out[:, None], logits)


def real_clips(embed: Callable[[Tensor, int], AudioEmbedding], esc50: Path | None, file: Path) -> RealClips:
    """The embeddings in a file; made of ESC-50, and kept there, if it does not exist.

    Args:
        embed: waveforms (B, samples) at a sample rate -> one vector each, and logits.
        esc50: folder of ESC-50; needed where there is no file.
        file: safetensors.

    Raises:
        DataError: if there is neither.
    """
    if file.exists():
        return RealClips(**load_file(file))
    if esc50 is None:
        raise DataError(f"expected {file}, or the folder of ESC-50 to make it of: give --esc50")
    clips = recordings(esc50)
    found = []
    for clip in clips:
        sound = read_recording(clip.file)
        found.append(embed(sound.waveform[None], sound.sample_rate))
    vectors = torch.cat([one.vectors[:, 0] for one in found])
    logits = torch.cat([vectors.new_empty(1, 0) if one.logits is None else one.logits for one in found])
    labels = torch.tensor([CLASSES.index(clip.label) for clip in clips])
    test = torch.tensor([clip.split == "test" for clip in clips])
    train = torch.tensor([clip.split == "train" for clip in clips])
    real = RealClips(vectors[~test], labels[~test], vectors[train], vectors[test], labels[test], logits[test])
    real.save(file)
    return real
