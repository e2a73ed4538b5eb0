"""Warnings of generated sounds that vary far less than the recordings: a model that ignores captions and noise."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from consistency_tta.evaluation.clip_embeddings import Collection

#: Ratio of the variances of embeddings below which generated sounds are nearly one sound.
LOW = 0.05
#: Fewer clips have too uncertain a variance.
FEWEST = 4


def variety_warnings(collections: Mapping[str, Collection]) -> list[str]:
    """Warnings of the networks by whose embeddings the generated sounds are nearly one.

    Args:
        collections: embeddings of N pairs of sounds, by network.
    """
    found = []
    for name, clips in collections.items():
        if len(clips) < FEWEST:
            continue
        totals, squares = torch.zeros(2, clips.vectors[1], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        for material in clips.chunks():
            vectors = torch.stack(material.means)
            totals += vectors.sum(1)
            squares += vectors.square().sum((1, 2))
        generated, reference = (squares / len(clips) - (totals / len(clips)).square().sum(1)).tolist()
        if reference > 1e-12 and generated < LOW * reference:
            found.append(
                f"by {name} the generated sounds vary {max(generated, 0) / reference:.1%} as much as the references: "
                "they are nearly one sound; check whether the model has collapsed, or the folder is the right one"
            )
    return found
