"""The kernel audio distance of many draws of the same clips: distances of vectors are computed once and looked up.

Nearly all of the metric's time goes into distances of wide vectors: with 882 clips and PANNs' 2048 dimensions a draw
takes 7 s, and 200 of them 24 minutes. All pairs of a draw are pairs of the clips, or one clip twice, at distance 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from consistency_tta.metrics.kernel import KernelAudioDistance
from consistency_tta.metrics.pairs import distances
from consistency_tta.runtime.errors import DataError


def kernel_audio_distances(
    generated: Tensor, reference: Tensor, bandwidth: float | None = None, scale: float = 100.0
) -> Callable[[Tensor], float]:
    """A function that computes the distance of draws.

    Args:
        generated, reference: vectors (N, W, D) of N clips.
        bandwidth, scale: of :class:`consistency_tta.metrics.kernel.KernelAudioDistance`, which gives the same.

    Returns:
        A function of clips by their positions (M,), int64. It raises a ValueError where they are too few, or their
        real sounds too much alike for a bandwidth. It keeps 24 (N W)^2 bytes.
    """
    metric = KernelAudioDistance(generated.shape[2], bandwidth, scale)  # refuses wrong options
    width = generated.shape[1]
    real, made = (rows.flatten(0, 1).double() for rows in (reference, generated))
    tables = [distances(x, y) for x, y in ((real, real), (made, made), (real, made))]

    def distance(clips: Tensor) -> float:
        rows = (clips[:, None] * width + torch.arange(width)).flatten()
        if len(rows) < 2:
            raise DataError(f"the kernel audio distance needs at least two vectors a side, got {len(rows)}")
        within_real, within_made, between = (table[rows][:, rows] for table in tables)
        wide = within_real.new_tensor(metric.bandwidth) if metric.bandwidth else _median_of_pairs(within_real)
        if wide == 0:
            raise DataError("the real clips' median distance is 0, but must be the kernel's bandwidth")
        kernels = [(table / wide).square_().mul_(-0.5).exp_() for table in (within_real, within_made, between)]
        pairs = len(rows) * (len(rows) - 1)
        similar = sum((kernel.sum() - kernel.trace()) / pairs for kernel in kernels[:2])
        return float(metric.scale * (similar - 2 * kernels[2].mean()))

    return distance


def _median_of_pairs(apart: Tensor) -> Tensor:
    """The lower median of the distances of all pairs, of distances (N, N)."""
    found = apart[torch.ones_like(apart, dtype=torch.bool).triu(1)]
    return found.kthvalue((len(found) - 1) // 2 + 1).values
