"""Encoders around one network that computes vectors and logits together."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from consistency_tta.audio.resample import resample
from consistency_tta.contracts import AudioEmbedding, AudioEncoder
from consistency_tta.runtime.errors import ShapeError
from consistency_tta.runtime.frozen import Frozen


class WindowEncoder(AudioEncoder):
    """An :class:`AudioEncoder` around a frozen network, in float32; a sound's one vector is the mean over its windows.

    Args:
        network: computes what :meth:`windows` returns.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.frozen = Frozen(network=network)

    @property
    def network(self) -> Any:
        """The network."""
        return self.frozen.network

    @abstractmethod
    def windows(self, waveform: Tensor) -> AudioEmbedding:
        """Embed waveforms (B, samples) at ``sample_rate``, in float32, of at least ``min_samples``."""

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """See :class:`consistency_tta.contracts.AudioEncoder`."""
        return self.embed_windows(waveform, sample_rate).vectors.mean(1)

    def embed_windows(self, waveform: Tensor, sample_rate: int) -> AudioEmbedding:
        """See :class:`consistency_tta.contracts.AudioEncoder`.

        Raises:
            ShapeError: the waveform has another number of axes, or is too short.
        """
        if waveform.ndim != 2:
            raise ShapeError(f"{self.name} expected a waveform (B, samples), got {tuple(waveform.shape)}")
        waveform = resample(waveform, sample_rate, self.sample_rate).float()
        if waveform.shape[1] < self.min_samples:
            raise ShapeError(
                f"{self.name} expected a waveform of at least {self.min_samples} samples at {self.sample_rate} Hz, "
                f"got {waveform.shape[1]}: pad it with silence"
            )
        with torch.autocast(waveform.device.type, enabled=False):
            return self.windows(waveform)
