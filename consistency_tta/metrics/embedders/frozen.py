"""What all embedders here share: a frozen network that nobody else sees."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from consistency_tta.metrics.embedder import AudioEmbedder, AudioEmbedding


class FrozenEmbedder(AudioEmbedder):
    """An :class:`AudioEmbedder` around a network: in evaluation mode, in float32, without gradients.

    The weights follow the owner to its device and are otherwise invisible: in no ``parameters()``, no ``state_dict()``,
    so that a training with an embedder in its validation saves checkpoints without it.

    Args:
        network: what hears.

    Attributes:
        min_samples: the shortest sound that can be heard.
    """

    min_samples: int = 1
    network: Any

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # Not by attribute: that would register it.
        self.__dict__["network"] = network.eval().requires_grad_(False)

    @abstractmethod
    def hear(self, waveform: Tensor) -> AudioEmbedding:
        """Waveforms (B, samples) of at least ``min_samples``, float32 -> :class:`AudioEmbedding`."""

    def forward(self, waveform: Tensor) -> AudioEmbedding:
        """See :class:`consistency_tta.metrics.embedder.AudioEmbedder`.

        Raises:
            ValueError: the waveform has another number of axes, or is too short.
        """
        if waveform.ndim != 2 or waveform.shape[1] < self.min_samples:
            raise ValueError(
                f"{self.name} expected a waveform (B, samples) of at least {self.min_samples} samples at "
                f"{self.sample_rate} Hz, got {tuple(waveform.shape)}: pad what is too short with silence"
            )
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            return self.hear(waveform.float())

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)
