"""Distances of all pairs of embeddings, a block of rows at a time: memory stays bounded, however many clips."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

#: The most distances in memory at once (64 MB in float64), unless a single row has more.
BLOCK = 2**23
#: Values that are sorted to find a median; more are first narrowed down.
_SORTED = 2**22
_BINS = 2**12


def blocks(rows: Tensor, columns: int) -> Iterator[tuple[int, Tensor]]:
    """Consecutive rows (N, D) as (first row, rows (b, D)), few enough for b ``columns`` <= BLOCK."""
    step = max(1, BLOCK // columns)
    for first in range(0, len(rows), step):
        yield first, rows[first : first + step]


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances (N, M) of x (N, D) and y (M, D).

    Differences are squared one by one: equal rows are exactly 0 apart, and a pair's distance does not depend on the
    block it is found in, so that ties are ties. The faster way by matrix products has neither property.
    """
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def median_distance(rows: Tensor) -> Tensor:
    """The median of the distances of the N (N - 1) / 2 pairs of rows (N, D), the lower one of two; a scalar.

    Found exactly: distances are counted in bins, and the bin with the median is counted again, until it is small enough
    to be sorted.
    """
    pairs = len(rows) * (len(rows) - 1) // 2
    rank, count = (pairs - 1) // 2, pairs  # the median's place among the distances in [low, high]
    low, high = rows.new_tensor(0.0), max(found.max() for found in _pair_distances(rows))
    while count > _SORTED and low < high:
        edges = torch.linspace(0, 1, _BINS + 1, dtype=rows.dtype, device=rows.device) * (high - low) + low
        edges[-1] = high
        counts = torch.zeros(_BINS, dtype=torch.long, device=rows.device)
        for found in _pair_distances(rows):
            inside = found[(found >= low) & (found <= high)]
            counts += torch.bincount(torch.bucketize(inside, edges[1:]).clamp_max(_BINS - 1), minlength=_BINS)
        bin_ = int((counts.cumsum(0) <= rank).sum())
        rank -= int(counts[:bin_].sum())
        narrower = (edges[bin_].nextafter(high) if bin_ else low, edges[bin_ + 1])
        if narrower == (low, high):  # nothing but ties
            break
        (low, high), count = narrower, int(counts[bin_])
    if count > _SORTED:
        return low
    inside = torch.cat([found[(found >= low) & (found <= high)] for found in _pair_distances(rows)])
    return inside.kthvalue(rank + 1).values


def _pair_distances(rows: Tensor) -> Iterator[Tensor]:
    for first, block in blocks(rows, len(rows)):
        found = distances(block, rows[first:])
        if found.shape[1] > 1:  # the last row alone has no pair
            yield found[torch.ones_like(found, dtype=torch.bool).triu(1)]
