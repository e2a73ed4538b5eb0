"""The built-in metrics as functions of a network's embeddings, or of waveforms."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchmetrics import Metric

from consistency_tta.evaluation.clip_embeddings import Collection, Material, UndefinedMetric
from consistency_tta.evaluation.kernel_draws import kernel_audio_distances
from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.metrics.diversity import PromptDiversity
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.metrics.inception import InceptionScore
from consistency_tta.metrics.kernel import KernelAudioDistance
from consistency_tta.metrics.lsd import LogSpectralDistance
from consistency_tta.metrics.pairs import BLOCK


def clap_score(material: Material) -> Tensor:
    """Cosine of each generated sound with its caption (N,); see :mod:`consistency_tta.metrics.clap`."""
    if material.text is None:
        raise UndefinedMetric("it needs a network that embeds captions, such as clap or tiny-clap")
    return F.cosine_similarity(material.generated.vectors.double().mean(1), material.text.double())


def similarity(material: Material) -> Tensor:
    """Cosine of each generated sound with its reference (N,)."""
    return F.cosine_similarity(*material.means)


def distance(material: Material) -> Tensor:
    """Euclidean distance of each generated sound from its reference (N,)."""
    return (material.means[0] - material.means[1]).norm(dim=1)


def of_logits(metric_class: Callable[..., Metric]) -> Callable[..., Tensor]:
    """Values (N,) of a metric class whose ``update`` takes logits (B, K) of generated sounds and of recordings."""

    def compute(material: Material, **options: Any) -> Tensor:
        return one_by_one(metric_class(**options), *_logits(material))

    return compute


def log_spectral_distance(generated: Tensor, reference: Tensor, sample_rate: int, **options: Any) -> Tensor:
    """Values (B,) of waveforms (B, samples); see :mod:`consistency_tta.metrics.lsd`."""
    return one_by_one(LogSpectralDistance(sample_rate, **options), generated, reference)


def of_sets(metric_class: Callable[..., Metric]) -> Callable[..., dict[str, float]]:
    """Values of a metric class whose ``update`` takes vectors (B, D) and whether they are real."""

    def compute(clips: Collection, **options: Any) -> dict[str, float]:
        metric = metric_class(clips.vectors[1], **options)
        for material in clips.chunks():
            generated, reference = material.sets
            metric.update(reference, real=True)
            metric.update(generated, real=False)
        return computed_values(metric)

    return compute


def frechet(clips: Collection) -> dict[str, float]:
    """The Fréchet distance; see :mod:`consistency_tta.metrics.frechet`.

    With fewer vectors than dimensions it is computed from the vectors themselves: of centred rows X and Y, divided by
    the root of their number less one, the covariances are X^T X and Y^T Y, and the singular values of
    S_1^{1/2} S_2^{1/2} are those of the small matrix X Y^T. Hundreds of draws of the bootstrap then take seconds
    instead of an hour.
    """
    number, width = clips.vectors
    if number > width and not isinstance(clips.source.reference, ReferenceStatistics):
        return of_sets(FrechetDistance)(clips)
    if number <= width:
        warnings.warn(
            f"{number} vectors span fewer than the network's {width} dimensions: the Fréchet distance is biased "
            "upwards; compare it only with distances of equally many clips",
            stacklevel=2,
        )
    if number < 2:
        raise UndefinedMetric(f"the Fréchet distance needs at least two vectors, got {number}")
    if isinstance(clips.source.reference, ReferenceStatistics):
        return {"": clips.source.reference.distance(clips.whole().generated.vectors.flatten(0, 1))}
    generated, reference = clips.whole().sets
    means = [rows.double().mean(0) for rows in (generated, reference)]
    x, y = ((rows - mean) / math.sqrt(number - 1) for rows, mean in zip((generated, reference), means, strict=True))
    spread = x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()
    return {"": float(((means[0] - means[1]).square().sum() + spread).clamp_min(0))}  # rounding may leave it below 0


def kad_of_draws(clips: Collection, **options: Any) -> Callable[[Tensor], dict[str, float]]:
    """The kernel audio distance of clips by their positions; see :mod:`consistency_tta.evaluation.kernel_draws`."""
    if clips.vectors[0] ** 2 > BLOCK:  # the distances would not fit
        return lambda drawn: of_sets(KernelAudioDistance)(clips.draw(drawn), **options)
    material = clips.whole()
    distances = kernel_audio_distances(material.generated.vectors, material.paired.vectors, **options)

    def values(drawn: Tensor) -> dict[str, float]:
        try:
            return {"": distances(drawn)}
        except ValueError as error:
            raise UndefinedMetric(str(error)) from error

    return values


def inception(clips: Collection, **options: Any) -> dict[str, float]:
    """The inception score of the generated sounds; see :mod:`consistency_tta.metrics.inception`."""
    metric = InceptionScore(_generated_logits(clips.source).shape[1], **options)
    for material in clips.chunks():
        metric.update(_generated_logits(material))
    return computed_values(metric)


def diversity(clips: Collection) -> dict[str, float]:
    """Mean distance of the generated sounds of one caption; and of the recordings, where several have one caption.

    See :mod:`consistency_tta.metrics.diversity`. All generated sounds of a clip count. The recordings have a value
    where it is of the same captions.
    """
    generated, recorded = PromptDiversity(), PromptDiversity()
    paired = not isinstance(clips.source.reference, ReferenceStatistics)
    for material in clips.chunks():
        if paired:
            recorded.update(material.means[1], material.prompts)
        for embedding in (material.generated, *material.more):
            generated.update(embedding.vectors.double().mean(1), material.prompts)
    values = computed_values(generated)
    captions, sounds = clips.source.prompts[clips.clips].unique(return_counts=True)
    several = int((sounds > 1).sum())
    count = len(captions) if clips.source.more else several
    if count < len(captions):
        warnings.warn(f"of {len(captions)} captions only {count} have several sounds, and count", stacklevel=2)
    if paired and several == count:
        values["reference"] = computed_values(recorded)[""]
    return values


def computed_values(metric: Metric) -> dict[str, float]:
    """What a metric computes, by name; a single value's name is empty.

    Raises:
        UndefinedMetric: it raises a ValueError; its options were checked when it was made, so the clips are the reason.
    """
    try:
        result = metric.compute()
    except ValueError as error:
        raise UndefinedMetric(str(error)) from error
    return {key: float(value) for key, value in (result if isinstance(result, dict) else {"": result}).items()}


def one_by_one(metric: Metric, *inputs: Tensor) -> Tensor:
    """The value of each clip (N,), of inputs (N, ...)."""
    values = []
    for clip in zip(*(rows.split(1) for rows in inputs), strict=True):
        metric.reset()
        metric.update(*clip)
        values.append(metric.compute())
    return torch.stack(values)


def _generated_logits(material: Material) -> Tensor:
    if material.generated.logits is None:
        raise UndefinedMetric("it needs a network that classifies, such as mn04 or panns")
    return material.generated.logits


def _logits(material: Material) -> tuple[Tensor, Tensor]:
    if material.paired.logits is None:
        raise UndefinedMetric("it needs a network that classifies, such as mn04 or panns")
    return _generated_logits(material), material.paired.logits
