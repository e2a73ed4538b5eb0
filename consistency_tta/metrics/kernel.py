"""Kernel distances: the squared maximum mean discrepancy (MMD) of two sets of embeddings, without bias.

    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)

for real x_i (N, D) and generated y_j (M, D). No Gaussians are assumed, and the expectation does not depend on the
number of clips; it is 0 for equal distributions, so that single values fall below 0, too. A set with itself is below 0:
its pairs i = j are in the last mean only.

Source: Arthur Gretton et al., "A Kernel Two-Sample Test", 2012, https://jmlr.org/papers/v13/gretton12a.html,
equation 3.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from consistency_tta.metrics.pairs import blocks, distances, median_distance
from consistency_tta.metrics.states import EmbeddingSets
from consistency_tta.runtime.errors import ConfigurationError, DataError

#: Values (N, M) for rows (N, D) and (M, D).
Kernel = Callable[[Tensor, Tensor], Tensor]


def squared_discrepancy(real: Tensor, generated: Tensor, kernel: Kernel) -> Tensor:
    """MMD^2 above of real (N, D) and generated (M, D), N, M >= 2, a scalar; in blocks, so that memory stays bounded."""
    crossed = sum(kernel(rows, generated).sum() for _, rows in blocks(real, len(generated)))
    return _mean_of_pairs(real, kernel) + _mean_of_pairs(generated, kernel) - 2 * crossed / len(real) / len(generated)


def _mean_of_pairs(rows: Tensor, kernel: Kernel) -> Tensor:
    total = rows.new_zeros(())
    for first, block in blocks(rows, len(rows)):
        values = kernel(block, rows)
        total += values.sum() - values.diagonal(first).sum()
    return total / len(rows) / (len(rows) - 1)


class _KernelDistance(EmbeddingSets):
    higher_is_better = False

    @abstractmethod
    def _kernel(self, real: Tensor) -> Kernel: ...

    def compute(self) -> Tensor:
        """The distance of all clips added, a scalar in float64.

        Raises:
            DataError: fewer than two real or two generated clips were given.
        """
        real, generated = self._sets()
        return squared_discrepancy(real, generated, self._kernel(real))


class KernelAudioDistance(_KernelDistance):
    """KAD, the MMD^2 of a Gaussian kernel exp(-|x - y|^2 / (2 bandwidth^2)), times ``scale``; 0 is best.

    Lies in [-2, 2] scale, in practice between about 0 and scale. Keeps all embeddings: 4 num_features bytes a clip.

    Source: Yoonjin Chung et al., "KAD: No More FAD! An Effective and Efficient Evaluation Metric for Audio Generation",
    2025, https://arxiv.org/abs/2502.15602; the factor 100 is that of their program kadtk.

    Args:
        num_features: D, width of the embeddings.
        bandwidth: of the kernel; if None the median distance of two real clips.
        scale: factor.
        **kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ConfigurationError: an argument is not positive.
        DataError: on compute, if more than half of all pairs of real clips are equal, so
            that there is no bandwidth.
    """

    def __init__(self, num_features: int, bandwidth: float | None = None, scale: float = 100.0, **kwargs: Any) -> None:
        super().__init__(num_features, **kwargs)
        if scale <= 0 or (bandwidth is not None and bandwidth <= 0):
            raise ConfigurationError(f"expected scale > 0 and bandwidth > 0 or None, got {scale} and {bandwidth}")
        self.bandwidth, self.scale = bandwidth, scale

    def _kernel(self, real: Tensor) -> Kernel:
        bandwidth = real.new_tensor(self.bandwidth) if self.bandwidth else median_distance(real)
        if bandwidth == 0:
            raise DataError(
                "the real clips' median distance is 0, but must be the kernel's bandwidth: most of them are equal; "
                "remove duplicates or give a bandwidth"
            )
        return lambda x, y: (distances(x, y) / bandwidth).square_().mul_(-0.5).exp_()

    def compute(self) -> Tensor:
        """KAD of all clips added, a scalar in float64.

        Raises:
            DataError: fewer than two real or two generated clips were given, or no bandwidth.
        """
        return self.scale * super().compute()


class KernelDistance(_KernelDistance):
    """KID, the MMD^2 of a polynomial kernel (gamma x . y + coef)^degree; 0 is best.

    Unlike the Gaussian one it grows without limits. All clips are compared at once: with ``subset_size`` the number of
    clips torchmetrics' KernelInceptionDistance finds the same. Keeps all embeddings: 4 num_features bytes a clip.

    Source: Mikołaj Bińkowski et al., "Demystifying MMD GANs", 2018, https://arxiv.org/abs/1801.01401, section 4.

    Args:
        num_features: D, width of the embeddings.
        degree: of the kernel.
        gamma: factor; 1 / num_features if None.
        coef: summand.
        **kwargs: of :class:`torchmetrics.Metric`.
    """

    def __init__(
        self, num_features: int, degree: int = 3, gamma: float | None = None, coef: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(num_features, **kwargs)
        self.degree, self.gamma, self.coef = degree, 1 / num_features if gamma is None else gamma, coef

    def _kernel(self, real: Tensor) -> Kernel:
        return lambda x, y: (self.gamma * (x @ y.T) + self.coef) ** self.degree
