"""Embeddings of recordings: the reference of distances, and clips that no model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from consistency_tta.audio.recordings import read_recording
from consistency_tta.runtime.errors import DataError
from tools.arena.classifier import SoundClassifier
from tools.esc10 import CLASSES
from tools.esc10_captions import recordings


@dataclass(frozen=True)
class RealClips:
    """Embeddings (N, D) of recordings, class scores (N, 10), and which of the ten classes each is (N,).

    Attributes:
        reference: folds 1 to 4 of ESC-10, to which distances are computed.
        train: those of them that models were trained on.
        held_out: fold 5.
        held_out_scores, held_out_labels: class scores and classes of fold 5.
    """

    reference: Tensor
    train: Tensor
    held_out: Tensor
    held_out_scores: Tensor
    held_out_labels: Tensor

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.clone(memory_format=torch.contiguous_format) for name, value in vars(self).items()}, file
        )


def real_clips(classifier: SoundClassifier, esc50: Path | None, file: Path) -> RealClips:
    """The embeddings in a file; made of ESC-50, and kept there, if it does not exist.

    Args:
        classifier: embeds the recordings.
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
    sounds = (read_recording(clip.file) for clip in clips)
    found = [classifier(sound.waveform[None], sound.sample_rate) for sound in sounds]
    vectors, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
    labels = torch.tensor([CLASSES.index(clip.label) for clip in clips])
    test = torch.tensor([clip.split == "test" for clip in clips])
    train = torch.tensor([clip.split == "train" for clip in clips])
    real = RealClips(vectors[~test], vectors[train], vectors[test], scores[test], labels[test])
    real.save(file)
    return real
