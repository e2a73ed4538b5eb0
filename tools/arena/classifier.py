"""What evaluates sounds: a network that embeds them and scores the ten classes of ESC-10."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from consistency_tta.metrics.mn04 import AudioTagger
from consistency_tta.runtime.class_path import import_class
from consistency_tta.runtime.device import best_device
from tools.esc10 import class_columns

#: The one that is used where no other is given.
CLASSIFIER = "tools.arena.classifier.Mn04Classifier"


class SoundClassifier(Protocol):
    """Embeds sounds and scores the classes of :data:`tools.esc10.CLASSES`.

    Attributes:
        name: of the results' files.
    """

    name: str

    def __call__(self, waveform: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
        """Mono waveforms (B, samples) -> embeddings (B, D) and class scores (B, 10), both on the CPU."""


class Mn04Classifier:
    """EfficientAT's tagger mn04; a class has the logit of the most probable of its AudioSet labels.

    Args:
        weights: ``mn04_as_mAP_432.pt``.
        labels: table of the 527 AudioSet classes with the columns index and display_name.
        device: such as cuda or cpu; the best available if None.
    """

    name = "mn04"

    def __init__(self, weights: str | Path, labels: str | Path, device: str | None = None) -> None:
        self.device = best_device(device)
        self.tagger = AudioTagger.from_checkpoint(weights).to(self.device)
        self.columns = class_columns(Path(labels))

    @torch.no_grad()
    def __call__(self, waveform: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
        """See :class:`SoundClassifier`."""
        logits, vectors = self.tagger(waveform.to(self.device), sample_rate)
        scores = torch.stack([logits[:, column].amax(1) for column in self.columns], dim=1)
        return vectors.float().cpu(), scores.float().cpu()


def load_classifier(class_path: str, arguments: str) -> SoundClassifier:
    """A classifier by its class and its arguments as a JSON object.

    Args:
        class_path: such as ``tools.arena.classifier.Mn04Classifier``, or your own class with that interface.
        arguments: such as ``{"weights": "mn04_as_mAP_432.pt", "labels": "audioset527_labels.csv"}``.
    """
    classifier: Any = import_class(class_path, object)(**json.loads(arguments))
    return classifier
