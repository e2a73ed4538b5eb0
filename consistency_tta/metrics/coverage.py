"""Fidelity and variety of generated clips, by nearest neighbours among the embeddings of real and generated clips.

Each clip has a ball around its embedding that reaches to its k-th nearest neighbour of the same set. Of generated clips

    precision  the share in a ball of any real clip: what is generated is plausible
    density    how many balls of real clips hold it, over k, on average: precision that no stray real clip raises
    coverage   the share of real clips' balls with a generated clip in them: what is real is generated, too

and recall is the share of real clips in a ball of any generated clip: coverage that a stray generated clip can raise.

Source: Tuomas Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", 2019,
https://arxiv.org/abs/1904.06991, equations 1 and 2; Muhammad Ferjad Naeem et al., "Reliable Fidelity and Diversity
Metrics for Generative Models", 2020, https://arxiv.org/abs/2002.09797, section 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from consistency_tta.metrics.pairs import blocks, distances
from consistency_tta.metrics.states import EmbeddingSets
from consistency_tta.runtime.errors import ConfigurationError


def radii(rows: Tensor, nearest: int) -> Tensor:
    """Distances (N,) of rows (N, D) to their nearest-th neighbour, themselves not counted."""
    # A row is its own neighbour at distance 0, hence one more.
    return torch.cat([distances(block, rows).kthvalue(nearest + 1).values for _, block in blocks(rows, len(rows))])


class Coverage(EmbeddingSets):
    """Precision, recall, density and coverage; more is better. All are in [0, 1], but density in [0, N / k].

    Of many clips of one distribution, density is 1 and coverage 1 - 2^-k on average; precision and recall depend on the
    distribution. The surface of a ball does not belong to it, as in ``prdc`` by Naeem et al. (in the equation of
    Kynkäänniemi et al. it does, which differs for exact ties alone). Values depend on the number of clips: compare
    only those of equal numbers.

    Keeps all embeddings: 4 num_features bytes a clip.

    Args:
        num_features: D, width of the embeddings.
        nearest: k; Kynkäänniemi et al. have 3, Naeem et al. 5.
        **kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ConfigurationError: num_features or nearest is not positive.
    """

    higher_is_better = True
    plot_lower_bound = 0.0

    def __init__(self, num_features: int, nearest: int = 5, **kwargs: Any) -> None:
        super().__init__(num_features, **kwargs)
        if nearest < 1:
            raise ConfigurationError(f"expected nearest >= 1, got {nearest}")
        self.nearest = nearest

    def compute(self) -> dict[str, Tensor]:
        """``precision``, ``recall``, ``density`` and ``coverage``, scalars in float64.

        Raises:
            DataError: a set has no more than ``nearest`` clips.
        """
        real, generated = self._sets(self.nearest + 1)
        real_radii, generated_radii = radii(real, self.nearest), radii(generated, self.nearest)
        plausible, held = torch.zeros(2, dtype=torch.long, device=real.device)
        covered, recalled = (torch.zeros(len(real), dtype=torch.bool, device=real.device) for _ in range(2))
        for first, block in blocks(generated, len(real)):
            apart = distances(real, block)
            inside = apart < real_radii[:, None]
            plausible += inside.any(0).sum()
            held += inside.sum()
            covered |= inside.any(1)
            recalled |= (apart < generated_radii[first : first + len(block)]).any(1)
        return {
            "precision": plausible / real.new_tensor(len(generated)),
            "recall": recalled.double().mean(),
            "density": held / real.new_tensor(self.nearest * len(generated)),
            "coverage": covered.double().mean(),
        }
