"""Metric values of a model's sounds, and of random halves of them, from which intervals are computed.

A half has as many clips of each class. Its value has about the variance that new sounds would cause in the value of all
(see :mod:`consistency_tta.evaluation.bootstrap`). Halves are the same for all models, whose sounds start from the same
noise: differences of two models are therefore paired.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from consistency_tta.metrics.coverage import Coverage
from consistency_tta.metrics.diversity import mean_pairwise_distance
from consistency_tta.metrics.frechet import frechet_distance
from consistency_tta.metrics.kernel import KernelAudioDistance
from consistency_tta.metrics.pairs import distances
from tools.arena.real import RealClips

#: What the tables show, in this order: name, heading, and whether more is better (None: it should be like real clips').
METRICS: dict[str, tuple[str, bool | None]] = {
    "accuracy": ("accuracy", True),
    "frechet": ("Fréchet", False),
    "kad": ("KAD", False),
    "density": ("density", True),
    "coverage": ("coverage", True),
    "diversity": ("diversity", True),
    "nearest_train": ("nearest training clip", None),
    "nearest_train_5": ("the same, 5 % quantile", None),
}


def values(embeddings: Tensor, scores: Tensor, real: RealClips) -> dict[str, float]:
    """Metric values of sounds.

    Args:
        embeddings: (10, clips, D).
        scores: of the classes (10, clips, 10).
        real: recordings.

    Returns:
        By the names of ``METRICS``: accuracy in [0, 1]; Fréchet distance, KAD, density and coverage against the
        reference; diversity, the mean over classes of the mean pairwise distance; mean and 5 % quantile of the distance
        to the nearest training clip.
    """
    rows, width = embeddings.flatten(0, 1).double(), embeddings.shape[-1]
    own = torch.arange(len(scores), device=scores.device)[:, None]
    sets = {"kad": KernelAudioDistance(width), "coverage": Coverage(width)}
    for metric in sets.values():
        metric.update(real.reference, real=True)
        metric.update(rows, real=False)
    covered = sets["coverage"].compute()
    nearest = distances(rows, real.train.double()).amin(1)
    found = {
        "accuracy": (scores.argmax(-1) == own).double().mean(),
        "frechet": frechet_distance(*gaussian(real.reference), *gaussian(rows)),
        "kad": sets["kad"].compute(),
        "density": covered["density"],
        "coverage": covered["coverage"],
        "diversity": torch.stack([mean_pairwise_distance(one) for one in embeddings]).mean(),
        "nearest_train": nearest.mean(),
        "nearest_train_5": nearest.quantile(0.05),
    }
    return {name: float(value) for name, value in found.items()}


def gaussian(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of rows (N, D)."""
    rows = rows.double()
    return rows.mean(0), rows.T.cov()


def halves(clips: int, draws: int, seed: int = 0) -> Iterator[Tensor]:
    """Positions (10, clips // 2) of half of each class's clips, each once; so many times."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        yield torch.rand(10, clips, generator=generator).argsort(1)[:, : clips // 2]


def half_values(embeddings: Tensor, scores: Tensor, real: RealClips, draws: int) -> dict[str, list[float]]:
    """The values of so many halves, by metric."""
    classes = torch.arange(len(embeddings))[:, None]
    found = [
        values(embeddings[classes, half], scores[classes, half], real) for half in halves(embeddings.shape[1], draws)
    ]
    return {name: [one[name] for one in found] for name in METRICS}


def real_values(real: RealClips, scores: Tensor) -> dict[str, float]:
    """Accuracy by class scores (N, 10), diversity, and distances to the nearest training clip, of fold 5."""
    nearest = distances(real.held_out.double(), real.train.double()).amin(1)
    groups = [real.held_out[real.held_out_labels == label] for label in real.held_out_labels.unique()]
    return {
        "accuracy": float((scores.argmax(1) == real.held_out_labels).double().mean()),
        "diversity": float(torch.stack([mean_pairwise_distance(one) for one in groups]).mean()),
        "nearest_train": float(nearest.mean()),
        "nearest_train_5": float(nearest.quantile(0.05)),
    }
