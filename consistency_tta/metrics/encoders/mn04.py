"""EfficientAT's audio tagger mn04_as; see :mod:`consistency_tta.metrics.mn04` for the network and its source."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.metrics.encoders.window_encoder import WindowEncoder
from consistency_tta.metrics.mn04 import EMBEDDING_DIM, MIN_SAMPLES, SAMPLE_RATE, AudioTagger
from consistency_tta.storage.checksum import checksum
from consistency_tta.storage.published_weights import Published, locate

PUBLISHED = Published(
    "mn04_as_mAP_432.pt", "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/mn04_as_mAP_432.pt"
)


class Mn04(WindowEncoder):
    """One vector (D = 384) and the logits of AudioSet's 527 classes for each sound of any length, at 32 kHz.

    Args:
        weights: ``mn04_as_mAP_432.pt``, or the folder that has it; the cache of ``torch.hub`` if None.

    Raises:
        FileNotFoundError: it is not there; nothing is downloaded.
        CheckpointError: it is another file.
    """

    name = "mn04"
    sample_rate = SAMPLE_RATE
    num_features = EMBEDDING_DIM
    min_samples = MIN_SAMPLES

    def __init__(self, weights: str | Path | None = None) -> None:
        path = locate(weights, PUBLISHED)
        super().__init__(AudioTagger.from_checkpoint(path))
        self.checksum = checksum(path)

    def windows(self, waveform: Tensor) -> AudioEmbedding:
        """See :class:`WindowEncoder`."""
        logits, vectors = self.network(waveform, SAMPLE_RATE)
        return AudioEmbedding(vectors[:, None], logits)
