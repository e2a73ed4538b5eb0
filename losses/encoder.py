"""What losses share that hear with an audio-text encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from consistency_tta.audio.resample import Resample
from consistency_tta.contracts import AudioTextEncoder, Loss


class EncoderLoss(Loss):
    """A loss of sound with a frozen encoder, which moves along and is in no ``parameters()`` and no ``state_dict()``.

    Args:
        encoder: such as :class:`consistency_tta.components.clap.TransformersClap`.
    """

    noise_weighted = False
    encoder: AudioTextEncoder

    def __init__(self, encoder: AudioTextEncoder) -> None:
        super().__init__()
        # Not by attribute: that would register its weights.
        self.__dict__["encoder"] = encoder.eval().requires_grad_(False)
        self._resamplers: dict[int, Resample] = {}

    def resampled(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Waveform (B, samples) at any rate -> at the encoder's, in float32."""
        if sample_rate not in self._resamplers:
            self._resamplers[sample_rate] = Resample(sample_rate, self.encoder.sample_rate)
        # In half precision, resampling would add noise.
        with torch.autocast(waveform.device.type, enabled=False):
            return self._resamplers[sample_rate].to(waveform.device)(waveform.float())

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self.encoder._apply(fn, recurse)
        return super()._apply(fn, recurse)
