"""The CLAP score: how well sounds fit their captions.

Source: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining", 2023, https://arxiv.org/abs/2211.06687; as a
metric of generated sound CLAP_T in Bai et al., "ConsistencyTTA", 2024, https://arxiv.org/abs/2309.10740, section 4.1,
which reports a hundred times it. Scores of different encoders cannot be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from consistency_tta.contracts import AudioTextEncoder
from consistency_tta.resample import Resample


def clap_scores(encoder: AudioTextEncoder, waveform: Tensor, captions: Sequence[str], sample_rate: int) -> Tensor:
    """Cosines (B,) of the vectors of sounds (B, samples) in [-1, 1] and of their B captions."""
    waveform = Resample(sample_rate, encoder.sample_rate).to(waveform.device)(waveform)
    return (encoder.embed_audio(waveform) * encoder.embed_text(captions)).sum(1)


class CLAPScore(Metric):
    """Mean cosine of the vectors of a sound and of its caption, in [-1, 1]; 1 is best.

    Args:
        encoder: such as :class:`consistency_tta.components.clap.TransformersClap`.
        **kwargs: of :class:`torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    total: Tensor
    count: Tensor

    def __init__(self, encoder: AudioTextEncoder, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, waveform: Tensor, captions: Sequence[str], sample_rate: int) -> None:
        """Take in sounds (B, samples) in [-1, 1], their B captions and their sample rate in Hz."""
        if waveform.ndim != 2 or len(waveform) != len(captions):
            raise ValueError(
                f"expected a waveform (B, samples) and B captions, got {tuple(waveform.shape)} and {len(captions)}"
            )
        scores = clap_scores(self.encoder, waveform, captions, sample_rate)
        if not scores.isfinite().all():
            raise ValueError("expected finite vectors, got NaN or infinity: look for broken sounds")
        self.total += scores.double().sum()
        self.count += len(scores)

    def compute(self) -> Tensor:
        """The score of all sounds taken in, a scalar in float64.

        Raises:
            ValueError: there is no sound.
        """
        if not self.count:
            raise ValueError("the CLAP score needs at least one sound, got none")
        return self.total / self.count
