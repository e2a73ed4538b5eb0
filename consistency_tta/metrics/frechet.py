"""The Fréchet distance between two sets of embeddings, each described by its mean m and covariance S.

    d^2 = |m_1 - m_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1^{1/2} S_2 S_1^{1/2})^{1/2}

which is the squared 2-Wasserstein distance of two Gaussians.

Source: D. C. Dowson, B. V. Landau, "The Fréchet Distance between Multivariate Normal Distributions", 1982,
https://doi.org/10.1016/0047-259X(82)90077-X, equation 16; for sound Kevin Kilgour et al., "Fréchet Audio Distance: A
Metric for Evaluating Music Enhancement Algorithms", 2019, https://arxiv.org/abs/1812.08466, equation 1.

The last trace is the sum of the singular values of S_1^{1/2} S_2^{1/2}, whose factors come of symmetric
eigendecompositions: no complex numbers, no jitter on the diagonal where a covariance has no full rank, and, since no
square root is taken of the product's rounding errors, accurate there, too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

from consistency_tta.metrics.base import SoundMetric
from consistency_tta.metrics.states import combine, finite_rows, moments, positive_width
from consistency_tta.runtime.errors import DataError


def frechet_distance(mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor) -> Tensor:
    """The formula above.

    Args:
        mean_1: m_1 (D,).
        covariance_1: S_1 (D, D), symmetric, positive semi-definite.
        mean_2: m_2 (D,).
        covariance_2: S_2 (D, D), symmetric, positive semi-definite.

    Returns:
        d^2, a scalar in float64, >= 0.
    """
    mean_1, covariance_1, mean_2, covariance_2 = (x.double() for x in (mean_1, covariance_1, mean_2, covariance_2))
    cross = torch.linalg.svdvals(_root(covariance_1) @ _root(covariance_2)).sum()
    distance = (mean_1 - mean_2).square().sum() + covariance_1.trace() + covariance_2.trace() - 2 * cross
    return distance.clamp_min(0)  # of equal sets rounding leaves a trace of either sign


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    # Zero eigenvalues come out as rounding errors of either sign, whose roots would be NaN or far too large.
    rounding = len(values) * torch.finfo(values.dtype).eps * values.max()
    return (vectors * values.where(values > rounding, 0).sqrt()) @ vectors.T


class FrechetDistance(SoundMetric):
    """Fréchet distance between the embeddings of real and of generated clips; 0 is best.

    Embeddings are added batch by batch, and only their count, mean and scatter are kept (and put together over
    processes), in float64: 16 (num_features + 1)^2 bytes, whatever the number of clips. The covariances are unbiased
    (n - 1).

    The distance is biased upwards, the more so the fewer the clips: compare only distances found with equal
    numbers of clips, or see :class:`consistency_tta.metrics.frechet_infinity.FrechetInfinity`.

    Args:
        num_features: D, width of the embeddings.
        **kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ConfigurationError: num_features is not positive.
    """

    higher_is_better = False
    plot_lower_bound = 0.0

    real: Tensor
    generated: Tensor

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_features = positive_width(num_features)
        nothing = moments(torch.empty(0, num_features))
        self.add_state("real", nothing, dist_reduce_fx=combine)
        self.add_state("generated", nothing, dist_reduce_fx=combine)

    def update(self, embeddings: Tensor, real: bool) -> None:
        """Add embeddings (B, num_features) of real (``real=True``) or of generated clips."""
        more = moments(finite_rows(embeddings, self.num_features))
        if real:
            self.real = combine(torch.stack([self.real, more]))
        else:
            self.generated = combine(torch.stack([self.generated, more]))

    def compute(self) -> Tensor:
        """The distance d^2 of all clips added, a scalar in float64.

        Raises:
            DataError: fewer than two real or two generated clips were given.
        """
        return frechet_distance(*_gaussian("real", self.real), *_gaussian("generated", self.generated))


def _gaussian(side: str, moments: Tensor) -> tuple[Tensor, Tensor]:
    clips, dimensions = int(moments[0, 0]), len(moments) - 1
    if clips < 2:
        raise DataError(f"the Fréchet distance needs at least two {side} clips, got {clips}")
    if clips <= dimensions:
        rank_zero_warn(
            f"{clips} {side} clips span fewer than the embedding's {dimensions} dimensions: the Fréchet "
            "distance is biased upwards; compare it only with distances of equally many clips",
            UserWarning,
        )
    return moments[0, 1:], moments[1:, 1:] / (clips - 1)
