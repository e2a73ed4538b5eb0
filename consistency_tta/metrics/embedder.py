"""What metrics hear with: any network that turns sounds into vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass
class AudioEmbedding:
    """What an :class:`AudioEmbedder` makes of B sounds.

    Attributes:
        vectors: (B, W, D) float32, W >= 1 vectors of width D a sound. Networks that hear a whole sound at once give
            one; VGGish gives one for each 0.96 s. Set metrics take each vector as a sample of its own, per-clip metrics
            the mean over W.
        logits: (B, K) of K classes before softmax or sigmoid, or None for a network that names nothing.
    """

    vectors: Tensor
    logits: Tensor | None = None


class AudioEmbedder(nn.Module, ABC):
    """Sounds as vectors, by a frozen network, one sound without regard to the others.

    Attributes:
        name: short, such as ``mn04``; part of a metric's name in results.
        sample_rate: of the waveforms it is given, in Hz.
        num_features: D.
        checksum: SHA-256 of the weights' file, or of the weights, in hexadecimal: what tells one checkpoint's figures
            from another's.
    """

    name: str
    sample_rate: int
    num_features: int
    checksum: str

    @abstractmethod
    def forward(self, waveform: Tensor) -> AudioEmbedding:
        """Waveforms (B, samples) in [-1, 1] at ``sample_rate``, all of one length -> :class:`AudioEmbedding`."""
