"""The Fréchet distance that infinitely many generated clips would have.

The Fréchet distance of n clips is biased upwards by about c / n, where c depends on the model. It is found for random
subsets of several sizes n; the line d^2(n) = a + c / n through these points, by least squares, has the height a at
1 / n = 0.

Source: Min Jin Chong, David Forsyth, "Effectively Unbiased FID and Inception Score and where to find them", 2020,
https://arxiv.org/abs/1911.07023; for sound FAD-infinity in Azalea Gui et al., "Adapting Frechet Audio Distance
for Generative Music Evaluation", 2023, https://arxiv.org/abs/2311.01616.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

from consistency_tta.metrics.frechet import frechet_distance
from consistency_tta.metrics.states import EmbeddingSets
from consistency_tta.runtime.errors import ConfigurationError, DataError


def line(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Least-squares line through points x, y (N,): intercept, slope, and R^2, the share of the variance of y in it."""
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    intercept = y.mean() - slope * x.mean()
    variance, rest = (y - y.mean()).square().sum(), (y - intercept - slope * x).square().sum()
    return intercept, slope, 1 - rest / variance if variance > 0 else torch.ones_like(rest)


class FrechetInfinity(EmbeddingSets):
    """Bias-corrected Fréchet distance; 0 is best, and chance may carry it slightly below.

    Subsets are drawn without replacement, as by Chong and Forsyth. (fadtk, the program of Gui et al., draws with
    replacement; such subsets lead to the distance of the given clips, with its bias.) Only the generated clips are
    thinned out: the bias of the real ones stays, the same for every model that is compared with them.

    Keeps all embeddings: 4 num_features bytes a clip.

    Args:
        num_features: D, width of the embeddings.
        min_clips: the smallest subset, as of Gui et al.; should be larger than num_features, for the bias is linear in
            1 / n only there.
        num_sizes: sizes of subsets, evenly spaced from the smallest to all clips. Each costs one Fréchet distance.
        seed: of the subsets.
        **kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ConfigurationError: a number is too small.
    """

    higher_is_better = False

    def __init__(
        self, num_features: int, min_clips: int = 500, num_sizes: int = 15, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(num_features, **kwargs)
        if min_clips < 2 or num_sizes < 3:
            raise ConfigurationError(f"expected min_clips >= 2 and num_sizes >= 3, got {min_clips} and {num_sizes}")
        self.min_clips, self.num_sizes, self.seed = min_clips, num_sizes, seed

    def compute(self) -> dict[str, Tensor]:
        """Scalars in float64: ``distance``, a above, and ``r_squared`` in [0, 1] of the line.

        Where R^2 is far from 1, the points do not lie on a line and the distance is not to be trusted.

        Raises:
            DataError: fewer than two real clips were given, or not enough generated ones for num_sizes sizes.
        """
        real, generated = self._sets()
        sizes = torch.linspace(self.min_clips, len(generated), self.num_sizes, dtype=torch.float64).long().tolist()
        if len(generated) < self.min_clips + self.num_sizes - 1:
            raise DataError(
                f"FrechetInfinity needs {self.num_sizes} sizes of subsets from {self.min_clips} to all generated "
                f"clips, got {len(generated)} clips: generate more, or lower min_clips"
            )
        if self.min_clips <= self.num_features:
            rank_zero_warn(
                f"subsets of {self.min_clips} clips span fewer than the embedding's {self.num_features} dimensions: "
                "their bias is not linear in 1 / n; see r_squared",
                UserWarning,
            )
        generator = torch.Generator().manual_seed(self.seed)
        reference = (real.mean(0), _covariance(real))
        distances = []
        for size in sizes:
            subset = generated[torch.randperm(len(generated), generator=generator)[:size].to(generated.device)]
            distances.append(frechet_distance(*reference, subset.mean(0), _covariance(subset)))
        intercept, _, r_squared = line(1 / real.new_tensor(sizes), torch.stack(distances))
        return {"distance": intercept, "r_squared": r_squared}


def _covariance(rows: Tensor) -> Tensor:
    # Of one column torch makes a number.
    return rows.T.cov().reshape(rows.shape[1], rows.shape[1])
