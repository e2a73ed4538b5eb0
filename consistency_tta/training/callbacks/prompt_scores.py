"""Scores of the prompts of a validation by two networks, and how the scores of two validations differ."""

from __future__ import annotations

import math

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class PromptScores(Metric):
    """Scores by the reward and by the independent encoder, averaged for each prompt.

    A prompt's sounds may come in any batch and process.
    """

    full_state_update = False

    prompts: list[Tensor]
    scores: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("prompts", [], dist_reduce_fx="cat")
        self.add_state("scores", [], dist_reduce_fx="cat")

    def update(self, prompts: Tensor, scores: Tensor) -> None:
        """Add the prompts (B,) and scores (B, 2) of sounds."""
        self.prompts.append(prompts)
        self.scores.append(scores.double())

    def compute(self) -> Tensor:
        """(prompts, 2) in float64, in the prompts' order."""
        numbers, index = dim_zero_cat(self.prompts).unique(return_inverse=True)
        scores = dim_zero_cat(self.scores)
        sums = scores.new_zeros(len(numbers), 2).index_add_(0, index, scores)
        return sums / index.bincount()[:, None]


def paired_change(now: Tensor, then: Tensor) -> tuple[float, float]:
    """Mean of the differences (N,) and its standard error; N >= 2."""
    difference = now - then
    return float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))
