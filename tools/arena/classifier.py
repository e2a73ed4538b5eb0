"""What evaluates sounds: an encoder, and scores of the ten classes of ESC-10 from its logits or by a linear probe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from consistency_tta.contracts import AudioEmbedding, AudioEncoder
from consistency_tta.runtime.class_path import import_class
from consistency_tta.runtime.device import best_device
from consistency_tta.runtime.errors import DataError
from tools.arena.real import RealClips
from tools.esc10_classes import CLASSES, class_columns
from tools.probe_encoder import LinearProbe


class SoundClassifier:
    """Embeds sounds and scores the ten classes, in the order of :data:`tools.esc10_classes.CLASSES`.

    Args:
        encoder: embeds.
        score: class scores (B, 10) of what it computes.
        scores: what the scores are, in a word: ``labels`` or ``probe``.
    """

    def __init__(self, encoder: AudioEncoder, score: Callable[[AudioEmbedding], Tensor], scores: str) -> None:
        self.encoder, self.score, self.scores = encoder, score, scores
        self.name = encoder.name

    @torch.no_grad()
    def __call__(self, waveform: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
        """Mono waveforms (B, samples) -> embeddings (B, D) and class scores (B, 10), both on the CPU."""
        found = embed(self.encoder, waveform, sample_rate)
        return found.vectors[:, 0], self.score(found)


def load_encoder(class_path: str, weights: str) -> AudioEncoder:
    """An encoder by its class, whose first argument is its weights, on the best device."""
    encoder: AudioEncoder = import_class(class_path, AudioEncoder)(weights)
    return encoder.to(best_device())


def embed(encoder: AudioEncoder, waveform: Tensor, sample_rate: int) -> AudioEmbedding:
    """One vector for each sound (B, 1, D), and logits if the encoder has some, on the CPU."""
    found = encoder.embed_windows(waveform.to(best_device()), sample_rate)
    logits = None if found.logits is None else found.logits.float().cpu()
    return AudioEmbedding(found.vectors.mean(1, keepdim=True).float().cpu(), logits)


def classifier(encoder: AudioEncoder, labels: Path | None, real: RealClips) -> SoundClassifier:
    """A classifier by AudioSet's labels, or by a linear probe that is fitted on folds 1 to 4.

    Args:
        encoder: embeds.
        labels: table of the 527 AudioSet classes with the columns index and display_name, where the encoder has their
            logits; a class has the highest of its labels' logits. None for a linear probe.
        real: the recordings.
    """
    if labels is None:
        probe = LinearProbe(real.reference, real.reference_labels, len(CLASSES))
        return SoundClassifier(encoder, lambda found: probe(found.vectors[:, 0]), "probe")
    columns = class_columns(labels)

    def score(found: AudioEmbedding) -> Tensor:
        if found.logits is None:
            raise DataError(f"{encoder.name} has no logits: leave out --labels for a linear probe")
        logits = found.logits
        return torch.stack([logits[:, column].amax(1) for column in columns], dim=1)

    return SoundClassifier(encoder, score, "labels")
