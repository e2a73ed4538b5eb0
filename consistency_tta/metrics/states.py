"""The states of metrics: what they accumulate of clips, summed or gathered over processes.

A mean over clips (:class:`ClipMean`) and the mean and covariance of embeddings (:func:`moments`) take the same memory
for fifty clips and for fifty thousand. What compares clips with each other has to keep them (:class:`EmbeddingSets`).
"""

from __future__ import annotations

from itertools import count
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from consistency_tta.metrics.base import SoundMetric
from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError

#: One for each metric of a mean.
_NUMBERS = count()


def finite_rows(rows: Tensor, width: int | None = None, what: str = "embeddings") -> Tensor:
    """The rows (B, width) without gradients, if they are what they should be.

    Raises:
        ShapeError: for another shape.
        DataError: for NaN or infinity.
    """
    if rows.ndim != 2 or (width is not None and rows.shape[1] != width):
        raise ShapeError(f"expected {what} of shape (B, {width or 'D'}), got {tuple(rows.shape)}")
    if not rows.isfinite().all():
        raise DataError(f"expected finite {what}, got NaN or infinity: look for broken clips")
    return rows.detach()


def check_sounds(*waveforms: Tensor) -> None:
    """Check that waveforms are batches of sounds.

    Raises:
        ShapeError: one is not of shape (B, samples), or has no sound.
        DataError: one is of integers.
    """
    for waveform in waveforms:
        if waveform.ndim != 2 or not len(waveform):
            raise ShapeError(f"expected waveforms (B, samples) of at least one sound, got {tuple(waveform.shape)}")
        if not waveform.is_floating_point():
            raise DataError(f"expected waveforms in [-1, 1], got {waveform.dtype}: divide 16-bit samples by 32768")


def check_rate(sample_rate: object) -> None:
    """Raise a ConfigurationError if a sample rate is no whole number of Hz."""
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, Integral) or sample_rate < 1:
        raise ConfigurationError(f"expected a sample_rate in Hz, such as 16000, got {sample_rate!r}")


def positive_width(num_features: int) -> int:
    """The width of embeddings, if it is one."""
    if num_features < 1:
        raise ConfigurationError(f"num_features must be the width of the embeddings, at least 1, got {num_features}")
    return num_features


def moments(rows: Tensor) -> Tensor:
    """Count n, mean m and scatter S = sum of (x - m)(x - m)^T of rows x (B, D), in one matrix.

    Returns:
        (D + 1, D + 1) float64: [[n, m], [m, S]]. Zeros stand for no rows.
    """
    rows = rows.double()
    mean = rows.mean(0) if len(rows) else rows.new_zeros(rows.shape[1])
    centred = rows - mean
    return _pack(rows.new_tensor(len(rows)), mean, centred.T @ centred)


def combine(parts: Tensor) -> Tensor:
    """The moments of several sets of rows together, (W, D + 1, D + 1) -> (D + 1, D + 1).

    Nothing large is subtracted, so that embeddings far from zero lose no digits: a set adds the outer product of its
    mean's distance to the common mean. Source: Tony F. Chan et al., "Updating Formulae and a Pairwise Algorithm for
    Computing Sample Variances", 1979, http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf.
    """
    count, means, scatters = parts[:, 0, 0], parts[:, 0, 1:], parts[:, 1:, 1:]
    mean = count @ means / count.sum().clamp_min(1)
    away = means - mean
    return _pack(count.sum(), mean, scatters.sum(0) + (count * away.T) @ away)


def _pack(count: Tensor, mean: Tensor, scatter: Tensor) -> Tensor:
    first = torch.cat([count.reshape(1), mean])
    return torch.cat([first[None], torch.cat([mean[:, None], scatter], dim=1)])


class ClipMean(SoundMetric):
    """The mean of one value per clip, in float64; base of metrics that give each clip such a value."""

    total: Tensor
    count: Tensor
    number: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        # A MetricCollection lets metrics of equal states share them, and two means are equal by chance, such as 0 for a
        # first batch of perfect clips: no other metric has this number.
        self.add_state("number", torch.tensor(next(_NUMBERS)), dist_reduce_fx="max")

    def _add(self, values: Tensor) -> None:
        """Add values (B,)."""
        self.total += values.detach().double().sum()
        self.count += len(values)

    def compute(self) -> Tensor:
        """The mean over all clips added, a scalar in float64.

        Raises:
            DataError: no clip was given.
        """
        if not self.count:
            raise DataError(f"{type(self).__name__} needs at least one sound, got none")
        return self.total / self.count


class EmbeddingSets(SoundMetric):
    """Keeps the embeddings of real and of generated clips, in float32: 4 num_features bytes a clip.

    Args:
        num_features: D, width of the embeddings.
        **kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ConfigurationError: num_features is not positive.
    """

    real: list[Tensor]
    generated: list[Tensor]

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_features = positive_width(num_features)
        # Flat, for a process without clips puts in torch.tensor([]), and torchmetrics gathers equal numbers of axes.
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    def update(self, embeddings: Tensor, real: bool) -> None:
        """Add embeddings (B, num_features) of real (``real=True``) or of generated clips."""
        kept = self.real if real else self.generated
        kept.append(finite_rows(embeddings, self.num_features).float().flatten())

    def _sets(self, needed: int = 2) -> tuple[Tensor, Tensor]:
        """All real and all generated embeddings, each (N, num_features) float64 with N >= needed."""
        sets = []
        for side, kept in (("real", self.real), ("generated", self.generated)):
            rows = dim_zero_cat(kept).double().view(-1, self.num_features) if len(kept) else torch.empty(0, 1)
            if len(rows) < needed:
                raise DataError(f"{type(self).__name__} needs at least {needed} {side} clips, got {len(rows)}")
            sets.append(rows)
        return sets[0], sets[1]
