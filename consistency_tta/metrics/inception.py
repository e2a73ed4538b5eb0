"""The inception score: high if each clip is clearly of one class, and the set has many classes.

    IS = exp(mean over clips of KL(p(k | clip) || p(k)))

with a tagger's softmax probabilities p(k | clip) of K classes and their mean p(k) over the clips.

Source: Tim Salimans et al., "Improved Techniques for Training GANs", 2016, https://arxiv.org/abs/1606.03498, section 4.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from consistency_tta.metrics.base import SoundMetric
from consistency_tta.metrics.states import finite_rows
from consistency_tta.runtime.errors import ConfigurationError, DataError


def inception_score(logits: Tensor) -> Tensor:
    """IS above of logits (N, K), a scalar."""
    log_p = logits.log_softmax(1)
    log_mean = log_p.logsumexp(0) - math.log(len(logits))  # never log 0
    return (log_p.exp() * (log_p - log_mean)).sum(1).mean().exp()


class InceptionScore(SoundMetric):
    """Inception score of generated clips, in [1, K]; more is better. It does not use real clips.

    The clips are shuffled and split into equal parts, as in torchmetrics' InceptionScore (which has images only).
    Biased downwards, the more so the fewer clips a part has. Keeps all logits: 4 num_classes bytes a clip.

    Args:
        num_classes: K.
        splits: number of parts.
        seed: of the shuffle.
        **kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ConfigurationError: a number is not positive.
    """

    higher_is_better = True
    plot_lower_bound = 1.0

    logits: list[Tensor]

    def __init__(self, num_classes: int, splits: int = 10, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if min(num_classes, splits) < 1:
            raise ConfigurationError(f"expected num_classes >= 1 and splits >= 1, got {num_classes} and {splits}")
        self.num_classes, self.splits, self.seed = num_classes, splits, seed
        self.add_state("logits", [], dist_reduce_fx="cat")  # flat: see EmbeddingSets

    def update(self, logits: Tensor) -> None:
        """Add logits (B, num_classes) of generated clips."""
        self.logits.append(finite_rows(logits, self.num_classes, "logits").float().flatten())

    def compute(self) -> dict[str, Tensor]:
        """``mean`` over the parts and ``std`` (of the sample; 0 for one part), scalars in float64.

        Raises:
            DataError: fewer clips than parts were given.
        """
        logits = dim_zero_cat(self.logits).double().view(-1, self.num_classes) if len(self.logits) else torch.empty(0)
        if len(logits) < self.splits:
            raise DataError(f"expected at least {self.splits} clips, one for each of the splits, got {len(logits)}")
        order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(self.seed)).to(logits.device)
        scores = torch.stack([inception_score(part) for part in logits[order].chunk(self.splits)])
        return {"mean": scores.mean(), "std": scores.std() if len(scores) > 1 else torch.zeros_like(scores[0])}
