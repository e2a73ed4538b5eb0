"""Mean and covariance of the embeddings of recordings: the reference of a Fréchet distance without its recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from consistency_tta.metrics.frechet import frechet_distance
from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.atomic_file import save_tensors
from consistency_tta.storage.bundled import TRANSFORMERS, resolve

#: File in the folder of a CLAP.
REAL_CLIPS = "real_clips.safetensors"


@dataclass(frozen=True)
class ReferenceStatistics:
    """Statistics of the embeddings of recordings.

    Attributes:
        count: number of recordings.
        mean: (D,) float64.
        covariance: (D, D) float64, unbiased.
    """

    count: int
    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, embeddings: Tensor) -> ReferenceStatistics:
        """Statistics of embeddings (clips, D).

        Raises:
            DataError: fewer than two were given: they have no covariance.
        """
        if len(embeddings) < 2:
            raise DataError(f"expected embeddings of at least 2 clips for a covariance, got {len(embeddings)}")
        return cls(len(embeddings), embeddings.double().mean(0), embeddings.double().T.cov())

    @classmethod
    def load(cls, clap: str) -> ReferenceStatistics:
        """Read the statistics in a CLAP's folder, or of a bundled CLAP.

        Raises:
            FileNotFoundError: the folder has none.
        """
        file = Path(resolve(clap, TRANSFORMERS)) / REAL_CLIPS
        if not file.is_file():
            raise FileNotFoundError(f"expected statistics of real clips in {file}: tools/bundle.py writes them")
        tensors = load_file(file)
        return cls(int(tensors["count"]), tensors["mean"], tensors["covariance"])

    def save(self, clap: Path) -> None:
        """Write them to a CLAP's folder."""
        tensors = {"count": torch.tensor(self.count), "mean": self.mean, "covariance": self.covariance}
        save_tensors(tensors, clap / REAL_CLIPS)

    def distance(self, embeddings: Tensor) -> float:
        """Fréchet distance of embeddings (clips, D) from these; biased upwards, the more so the fewer the clips.

        Raises:
            DataError: fewer than two embeddings were given.
        """
        other = ReferenceStatistics.of(embeddings)
        return float(frechet_distance(self.mean, self.covariance, other.mean, other.covariance))
