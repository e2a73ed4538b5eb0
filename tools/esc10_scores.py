"""How many clips of ESC-10's classes are recognised, and how much those of a class vary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from consistency_tta.metrics.diversity import mean_pairwise_distance
from tools.esc10_classes import CLASSES


class ClassScores(Metric):
    """Recognition and diversity of each class; a metric of the evaluator, which it names by this class.

    Args:
        columns: for each of the ten classes, the positions of its logits, of which the highest counts.
    """

    full_state_update = False

    vectors: list[Tensor]
    recognised: list[Tensor]

    def __init__(self, columns: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.columns = columns
        self.labels: list[str] = []
        self.add_state("vectors", [], dist_reduce_fx="cat")
        self.add_state("recognised", [], dist_reduce_fx="cat")

    def update(self, vectors: Tensor, logits: Tensor, captions: Sequence[str]) -> None:
        """Add embeddings (B, D), logits (B, K) and the labels of B clips."""
        scores = torch.stack([logits[:, column].amax(1) for column in self.columns], dim=1)
        found = [CLASSES[column] for column in scores.argmax(1).tolist()]
        self.labels += captions
        self.vectors.append(vectors)
        self.recognised.append(torch.tensor([a == b for a, b in zip(found, captions, strict=True)]))

    def compute(self) -> dict[str, Tensor]:
        """``accuracy`` and ``diversity``, and both of each class, such as ``accuracy/dog``.

        The diversity is the mean over the classes with two clips or more; NaN where there are none.
        """
        vectors, recognised = dim_zero_cat(self.vectors), dim_zero_cat(self.recognised).double()
        own = {label: torch.tensor([one == label for one in self.labels]) for label in CLASSES if label in self.labels}
        accuracy = {label: recognised[rows].mean() for label, rows in own.items()}
        diversity = {label: mean_pairwise_distance(vectors[rows]) for label, rows in own.items() if int(rows.sum()) > 1}
        return {
            "accuracy": recognised.mean(),
            "diversity": torch.stack(list(diversity.values())).mean() if diversity else torch.tensor(torch.nan),
            **{f"accuracy/{label}": value for label, value in accuracy.items()},
            **{f"diversity/{label}": value for label, value in diversity.items()},
        }
