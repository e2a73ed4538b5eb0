"""Diversity: the distance between sounds that were generated for the same prompt.

A model that has collapsed makes one sound per prompt, and its pairwise distances are near 0 while its quality may look
fine. Mean pairwise distance between outputs of one condition follows Jun-Yan Zhu et al., "Toward Multimodal
Image-to-Image Translation", 2017, https://arxiv.org/abs/1711.11586, section 5.1 ("Diversity"), with audio embeddings in
place of LPIPS.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from consistency_tta.metrics.base import SoundMetric
from consistency_tta.metrics.states import finite_rows
from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError

#: Integers up to here are themselves in float32.
LARGEST = 2**24


def mean_pairwise_distance(embeddings: Tensor) -> Tensor:
    """Mean Euclidean distance of the N (N - 1) / 2 pairs of embeddings (N, D), a scalar in float64.

    Raises:
        DataError: fewer than two embeddings were given.
    """
    if embeddings.ndim != 2 or len(embeddings) < 2:
        raise DataError(f"expected at least two embeddings (N, D), got shape {tuple(embeddings.shape)}")
    return torch.pdist(embeddings.double()).mean()


class PromptDiversity(SoundMetric):
    """Mean over the prompts of the mean Euclidean distance between the embeddings of a prompt's sounds.

    Prompts with a single sound have no pair and do not count. A prompt's sounds may come in any batch and process.
    Keeps all embeddings: 4 (D + 1) bytes a sound.

    Args:
        **kwargs: of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    plot_lower_bound = 0.0

    embeddings: list[Tensor]
    prompts: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Flat and float32, as torchmetrics has a process without sounds put in torch.tensor([]): see EmbeddingSets.
        self.add_state("embeddings", [], dist_reduce_fx="cat")
        self.add_state("prompts", [], dist_reduce_fx="cat")

    def update(self, embeddings: Tensor, prompts: Tensor) -> None:
        """Add sounds.

        Args:
            embeddings: (B, D), of the same D every time.
            prompts: which prompt each belongs to, integers (B,) of at most 2^24, the same in all processes.
        """
        if embeddings.ndim != 2 or prompts.shape != embeddings.shape[:1]:
            raise ShapeError(
                "expected embeddings (B, D) and prompt numbers (B,), "
                f"got shapes {tuple(embeddings.shape)} and {tuple(prompts.shape)}"
            )
        if prompts.is_floating_point():
            raise ShapeError(f"expected integers that number the prompts, got {prompts.dtype}")
        if len(prompts) and int(prompts.abs().max()) > LARGEST:
            raise ConfigurationError(
                f"expected prompts numbered from 0 on, up to {LARGEST}, got {int(prompts.abs().max())}"
            )
        self.embeddings.append(finite_rows(embeddings).float().flatten())
        self.prompts.append(prompts.float())

    def compute(self) -> Tensor:
        """The diversity of all sounds added, a scalar in float64.

        Raises:
            DataError: no prompt has two sounds.
        """
        prompts = dim_zero_cat(self.prompts) if len(self.prompts) else torch.empty(0)
        numbers, counts = prompts.unique(return_counts=True)
        if not (counts > 1).any():
            raise DataError("diversity needs at least two sounds of one prompt: generate several per prompt")
        embeddings = dim_zero_cat(self.embeddings).view(len(prompts), -1)
        return torch.stack([mean_pairwise_distance(embeddings[prompts == n]) for n in numbers[counts > 1]]).mean()
