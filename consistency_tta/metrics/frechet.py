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
from torchmetrics import Metric
from torchmetrics.utilities import rank_zero_warn


def frechet_distance(mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor) -> Tensor:
    """The formula above.

    Args:
        mean_1: m_1 (D,).
        covariance_1: S_1 (D, D), symmetric, positive semi-definite.
        mean_2: m_2 (D,).
        covariance_2: S_2 (D, D), symmetric, positive semi-definite.

    Returns:
        d^2, a scalar in float64, >= 0 up to rounding.
    """
    mean_1, covariance_1, mean_2, covariance_2 = (x.double() for x in (mean_1, covariance_1, mean_2, covariance_2))
    cross = torch.linalg.svdvals(_root(covariance_1) @ _root(covariance_2)).sum()
    return (mean_1 - mean_2).square().sum() + covariance_1.trace() + covariance_2.trace() - 2 * cross


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    # Zero eigenvalues come out as rounding errors of either sign, whose roots would be NaN or far too large.
    rounding = len(values) * torch.finfo(values.dtype).eps * values.max()
    return (vectors * values.where(values > rounding, 0).sqrt()) @ vectors.T


class FrechetDistance(Metric):
    """Fréchet distance between the embeddings of real and of generated clips; 0 is best.

    Embeddings are taken in batch by batch and only their count, sum and sum of outer products are kept (and summed over
    processes), in float64. The covariances are unbiased (n - 1).

    The distance is biased upwards, the more so the fewer clips there are: compare only distances found with equal
    numbers of clips.

    Args:
        num_features: D, width of the embeddings.
        **kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: num_features is not positive.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    plot_lower_bound = 0.0

    real_count: Tensor
    real_sum: Tensor
    real_products: Tensor
    generated_count: Tensor
    generated_sum: Tensor
    generated_products: Tensor

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_features < 1:
            raise ValueError(f"num_features must be the width of the embeddings, at least 1, got {num_features}")
        self.num_features = num_features
        for side in ("real", "generated"):
            self.add_state(f"{side}_count", torch.tensor(0), dist_reduce_fx="sum")
            self.add_state(f"{side}_sum", torch.zeros(num_features, dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state(
                f"{side}_products", torch.zeros(num_features, num_features, dtype=torch.float64), dist_reduce_fx="sum"
            )

    def update(self, embeddings: Tensor, real: bool) -> None:
        """Take in embeddings (B, num_features) of real (``real=True``) or of generated clips."""
        if embeddings.ndim != 2 or embeddings.shape[1] != self.num_features:
            raise ValueError(f"expected embeddings of shape (B, {self.num_features}), got {tuple(embeddings.shape)}")
        if not embeddings.isfinite().all():
            raise ValueError("expected finite embeddings, got NaN or infinity: look for broken clips")
        embeddings = embeddings.detach().double()
        if real:
            self.real_count += len(embeddings)
            self.real_sum += embeddings.sum(0)
            self.real_products += embeddings.T @ embeddings
        else:
            self.generated_count += len(embeddings)
            self.generated_sum += embeddings.sum(0)
            self.generated_products += embeddings.T @ embeddings

    def compute(self) -> Tensor:
        """The distance d^2 of all clips taken in, a scalar in float64.

        Raises:
            ValueError: there are fewer than two real or two generated clips.
        """
        return frechet_distance(
            *self._gaussian("real", self.real_count, self.real_sum, self.real_products),
            *self._gaussian("generated", self.generated_count, self.generated_sum, self.generated_products),
        )

    def _gaussian(self, side: str, count: Tensor, total: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
        clips = int(count)
        if clips < 2:
            raise ValueError(f"the Fréchet distance needs at least two {side} clips, got {clips}")
        if clips <= self.num_features:
            rank_zero_warn(
                f"{clips} {side} clips span fewer than the embedding's {self.num_features} dimensions: the Fréchet "
                "distance is biased upwards; compare it only with distances of equally many clips",
                UserWarning,
            )
        mean = total / clips
        return mean, (products - clips * torch.outer(mean, mean)) / (clips - 1)
