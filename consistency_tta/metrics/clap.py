"""CLAP scores: how well sounds match their captions, or recordings with the same captions.

Source: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining", 2023, https://arxiv.org/abs/2211.06687; as
metrics of generated sound CLAP_T and CLAP_A in Bai et al., "ConsistencyTTA", 2024, https://arxiv.org/abs/2309.10740,
section 4.1, where they are multiplied by 100. Scores of different encoders cannot be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from consistency_tta.contracts import AudioEncoder
from consistency_tta.metrics.states import ClipMean, check_rate, check_sounds
from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError
from consistency_tta.runtime.frozen import Frozen


def clap_scores(encoder: AudioEncoder, waveform: Tensor, captions: Sequence[str], sample_rate: int) -> Tensor:
    """Cosines (B,) of the vectors of sounds (B, samples) in [-1, 1] and of their B captions."""
    return (encoder.embed(waveform, sample_rate) * encoder.embed_text(captions)).sum(1)


class _CLAPMean(ClipMean):
    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(self, encoder: AudioEncoder, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(encoder, AudioEncoder):
            raise ConfigurationError(
                f"expected an AudioEncoder as encoder, got {encoder!r:.80}: consistency_tta.components.clap has some"
            )
        self.frozen = Frozen(encoder=encoder)

    @property
    def encoder(self) -> AudioEncoder:
        """The encoder."""
        return self.frozen.encoder

    def _add_finite(self, scores: Tensor) -> None:
        if not scores.isfinite().all():
            raise DataError("expected finite vectors, got NaN or infinity: look for broken sounds")
        self._add(scores)


class CLAPScore(_CLAPMean):
    """Mean cosine of the vectors of a sound and of its caption, in [-1, 1]; 1 is best. Constant memory.

    Args:
        encoder: such as :class:`consistency_tta.components.clap.TransformersClap`.
        **kwargs: of :class:`torchmetrics.Metric`.
    """

    def update(self, waveform: Tensor, captions: Sequence[str], sample_rate: int) -> None:
        """Add sounds (B, samples) in [-1, 1], their B captions and their sample rate in Hz."""
        check_sounds(waveform)
        check_rate(sample_rate)
        if isinstance(captions, str) or len(waveform) != len(captions):
            raise ShapeError(
                f"expected a list of captions, one for each sound of {tuple(waveform.shape)}, got {captions!r:.80}"
            )
        self._add_finite(clap_scores(self.encoder, waveform, captions, sample_rate))


class CLAPAudioScore(_CLAPMean):
    """Mean cosine of the vectors of a sound and of the real sound of the same caption, in [-1, 1]; 1 is best.

    Constant memory.

    Args:
        encoder: such as :class:`consistency_tta.components.clap.TransformersClap`.
        **kwargs: of :class:`torchmetrics.Metric`.
    """

    def update(self, waveform: Tensor, recording: Tensor, sample_rate: int) -> None:
        """Add sounds (B, samples) in [-1, 1], real ones (B, any samples), and the sample rate of both in Hz."""
        check_sounds(waveform, recording)
        check_rate(sample_rate)
        if len(waveform) != len(recording):
            raise ShapeError(
                f"expected two waveforms (B, samples), got shapes {tuple(waveform.shape)} and {tuple(recording.shape)}"
            )
        made, recorded = (self.encoder.embed(sound, sample_rate) for sound in (waveform, recording))
        self._add_finite((made * recorded).sum(1))
