"""Which metrics are compared with what, and by how much they differ."""

from __future__ import annotations

import importlib.util
import warnings
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.image import fid, kid

from consistency_tta.metrics.clap import CLAPAudioScore
from consistency_tta.metrics.coverage import Coverage
from consistency_tta.metrics.divergence import SigmoidDivergence, SoftmaxDivergence
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.metrics.frechet_infinity import FrechetInfinity
from consistency_tta.metrics.kernel import KernelAudioDistance, KernelDistance
from consistency_tta.metrics.lsd import LogSpectralDistance
from tools.metric_parity.adapters import (
    SAMPLE_RATE,
    MetricFunction,
    Spectra,
    Unchanged,
    of_pairs,
    of_sets,
    our_clap,
    our_diversity,
    our_inception,
)
from tools.metric_parity.references import (
    NEAREST,
    SIZES,
    SMALLEST,
    clap_audio_by_torchmetrics,
    clap_by_torchmetrics,
    coverage_by_scipy,
    divergence_by_torch,
    diversity_by_scipy,
    frechet_by_package,
    frechet_by_scipy,
    inception_by_torchmetrics,
    infinity_by_numpy,
    kad_by_scipy,
    lsd_by_numpy,
)


class Row(NamedTuple):
    """A metric of ours and an independent one, with their common input."""

    ours: str
    theirs: str
    our_metric: MetricFunction
    their_metric: MetricFunction
    sounds: bool = False


def rows(width: int = Unchanged.num_features, clips: int = 300) -> list[Row]:
    """All comparisons, for embeddings (clips, width)."""
    frechet = of_sets(FrechetDistance(width))
    found = [
        Row("FrechetDistance", "scipy, formula with `sqrtm`", frechet, frechet_by_scipy),
        Row(
            "FrechetDistance",
            "torchmetrics, `FrechetInceptionDistance`",
            frechet,
            of_sets(fid.FrechetInceptionDistance(Unchanged()), double=True),
        ),
        Row(
            "FrechetInfinity",
            "scipy, numpy `polyfit` on the same subsets",
            of_sets(FrechetInfinity(width, SMALLEST, SIZES)),
            infinity_by_numpy,
        ),
        Row("KernelAudioDistance", "scipy, whole matrices", of_sets(KernelAudioDistance(width)), kad_by_scipy),
        Row(
            "KernelDistance",
            "torchmetrics, `KernelInceptionDistance`",
            of_sets(KernelDistance(width)),
            of_sets(kid.KernelInceptionDistance(Unchanged(), subsets=1, subset_size=clips), double=True),
        ),
        Row("Coverage", "scipy, whole matrices", of_sets(Coverage(width, NEAREST)), coverage_by_scipy),
        Row(
            "SoftmaxDivergence",
            "torch, `kl_div` as in audioldm_eval",
            of_pairs(SoftmaxDivergence()),
            divergence_by_torch(lambda logits: logits.softmax(1)),
        ),
        Row(
            "SigmoidDivergence",
            "torch, `kl_div` as in audioldm_eval",
            of_pairs(SigmoidDivergence()),
            divergence_by_torch(torch.sigmoid),
        ),
        Row("PromptDiversity", "scipy, `pdist`", our_diversity, diversity_by_scipy),
        Row("InceptionScore", "torchmetrics, `InceptionScore`", our_inception, inception_by_torchmetrics),
        Row(
            "LogSpectralDistance",
            "numpy, formula of ssr_eval",
            of_pairs(LogSpectralDistance(SAMPLE_RATE)),
            lsd_by_numpy,
            sounds=True,
        ),
        Row("CLAPScore", "torchmetrics, `CosineSimilarity`", our_clap, clap_by_torchmetrics, sounds=True),
        Row(
            "CLAPAudioScore",
            "torchmetrics, `CosineSimilarity`",
            of_pairs(CLAPAudioScore(Spectra()), SAMPLE_RATE),
            clap_audio_by_torchmetrics,
            sounds=True,
        ),
    ]
    if importlib.util.find_spec("frechet_audio_distance"):
        found.insert(1, Row("FrechetDistance", "frechet_audio_distance", frechet, frechet_by_package))
    return found


def draw(sounds: bool, seed: int, width: int = Unchanged.num_features, clips: int = 300) -> tuple[Tensor, Tensor]:
    """Real and generated: correlated embeddings far from zero (clips, width), or half a second of noises (8, 8000)."""
    random = torch.Generator().manual_seed(seed)
    if sounds:
        return 0.3 * torch.randn(8, 8000, generator=random), 0.1 * torch.randn(8, 8000, generator=random)
    real, generated, mix = (torch.randn(n, width, generator=random) for n in (clips, clips, width))
    return (real @ mix + 10).relu(), (1.1 * generated @ mix + 11).relu()


def largest_difference(row: Row, draws: int = 3) -> float:
    """Of all values of a row, relative to theirs, over some draws."""
    largest = 0.0
    for seed in range(draws):
        clips = draw(row.sounds, seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*will save all extracted features")
            ours, theirs = row.our_metric(*clips), row.their_metric(*clips)
        if ours.keys() != theirs.keys():
            raise ValueError(f"expected the values {list(theirs)} of {row.ours}, got {list(ours)}")
        largest = max(largest, *(abs(ours[name] - theirs[name]) / abs(theirs[name]) for name in theirs))
    return largest
