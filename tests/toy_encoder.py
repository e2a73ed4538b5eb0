"""An audio-text encoder that can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from consistency_tta.audio.resample import resample
from consistency_tta.contracts import AudioEncoder


class ToyEncoder(AudioEncoder):
    """Sounds are the means of their first and second half; captions are angles in degrees."""

    num_features = 2

    def __init__(self, sample_rate: int = 16000) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.gain = nn.Parameter(torch.ones(()))
        self.lengths: list[int] = []
        self.embedded_captions: list[list[str]] = []

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        waveform = resample(waveform, sample_rate, self.sample_rate)
        self.lengths.append(waveform.shape[1])
        halves = torch.stack([half.mean(1) for half in waveform.chunk(2, dim=1)], dim=1)
        return F.normalize(self.gain * halves, dim=1)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        self.embedded_captions.append(list(captions))
        angle = torch.deg2rad(torch.tensor([float(caption) for caption in captions], device=self.gain.device))
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def halves(*values: tuple[float, float], samples: int = 1000) -> Tensor:
    """Waveforms (B, samples), each constant in its first and in its second half."""
    return torch.tensor(values).repeat_interleave(samples // 2, dim=1)
