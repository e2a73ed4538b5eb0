"""The metrics a protocol can ask for, by name, and what each is told.

Three kinds: of the two sounds of a clip, of the vectors of a clip, and of the vectors of all clips. The first two give
a value for each clip, and their figure is the mean.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchmetrics import Metric

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation.clip_embeddings import Collection, Material, collect
from consistency_tta.evaluation.kernel_draws import kernel_audio_distances
from consistency_tta.metrics.coverage import Coverage
from consistency_tta.metrics.divergence import SigmoidDivergence, SoftmaxDivergence
from consistency_tta.metrics.diversity import PromptDiversity
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.metrics.frechet_infinity import FrechetInfinity
from consistency_tta.metrics.inception import InceptionScore
from consistency_tta.metrics.kernel import KernelAudioDistance, KernelDistance
from consistency_tta.metrics.lsd import LogSpectralDistance
from consistency_tta.metrics.pairs import BLOCK


class UndefinedMetric(ValueError):  # noqa: N818 - a finding about the clips, said beside the other figures
    """The clips are too few, or too alike, for a metric of sets; or the network does not make what a metric needs."""


class Kind(StrEnum):
    """What a metric is told."""

    SOUND = "sound"
    CLIP = "clip"
    SET = "set"


@dataclass(frozen=True)
class MetricSpec:
    """A metric.

    Attributes:
        title: in reports.
        higher_is_better: whether it is.
        kind: sound: generated and reference waveforms (B, samples) and the sample rate in Hz -> values (B,);
            clip: :class:`Material` of N pairs -> values (N,); set: :class:`Collection` -> figures by name, the name of
            a metric's only figure being empty, or :class:`UndefinedMetric`. All take the protocol's options, too.
        function: of it.
        neither: figures that are neither better when higher nor when lower.
        of_draws: :class:`Collection` and options -> a function of clips' positions that finds the figures of those; for
            metrics of sets that take too long to be found anew in each draw of the bootstrap.
    """

    title: str
    higher_is_better: bool
    kind: Kind
    function: Callable[..., Any]
    neither: tuple[str, ...] = ()
    of_draws: Callable[..., Callable[[Tensor], dict[str, float]]] | None = None

    def values(self, clips: Collection, **options: Any) -> Tensor:
        """Of a metric of clips: values (N,)."""
        return torch.cat([self.function(material, **options) for material in clips.chunks()])

    def figures(self, clips: Collection, **options: Any) -> Callable[[Tensor], dict[str, float]]:
        """Of a metric of sets: positions of clips (M,) -> values by name, or :class:`UndefinedMetric`."""
        if self.of_draws is not None:
            return self.of_draws(clips, **options)
        return lambda drawn: self.function(clips.draw(drawn), **options)


def clap_score(material: Material) -> Tensor:
    """Cosine of each generated sound with its caption (N,); see :mod:`consistency_tta.metrics.clap`."""
    if material.text is None:
        raise UndefinedMetric("it needs a network that reads captions, such as clap or tiny-clap")
    return F.cosine_similarity(material.means[0], material.text.double())


def similarity(material: Material) -> Tensor:
    """Cosine of each generated sound with its reference (N,)."""
    return F.cosine_similarity(*material.means)


def distance(material: Material) -> Tensor:
    """Euclidean distance of each generated sound from its reference (N,)."""
    return (material.means[0] - material.means[1]).norm(dim=1)


def diversity(clips: Collection) -> dict[str, float]:
    """How far apart lie generated sounds of one caption, and recordings, if several have one.

    See :mod:`consistency_tta.metrics.diversity`. All generated sounds of a clip count. Of recordings there is a figure
    where it is of the same captions.
    """
    made, recorded = PromptDiversity(), PromptDiversity()
    for material in clips.chunks():
        generated, reference = material.means
        recorded.update(reference, material.prompts)
        for means in (generated, *(heard.vectors.double().mean(1) for heard in material.more)):
            made.update(means, material.prompts)
    figures = _figures(made)
    captions, sounds = clips.source.prompts[clips.clips].unique(return_counts=True)
    several = int((sounds > 1).sum())
    count = len(captions) if clips.source.more else several
    if count < len(captions):
        warnings.warn(f"of {len(captions)} captions only {count} have several sounds, and count", stacklevel=2)
    if several == count:
        figures["reference"] = _figures(recorded)[""]
    return figures


def frechet(clips: Collection) -> dict[str, float]:
    """The Fréchet distance; see :mod:`consistency_tta.metrics.frechet`.

    With fewer vectors than dimensions it is found from the vectors themselves: of centred rows X and Y, divided by the
    root of their number less one, the covariances are X^T X and Y^T Y, and the singular values of S_1^{1/2} S_2^{1/2}
    are those of the small matrix X Y^T. So hundreds of draws of the bootstrap take seconds, not an hour.
    """
    number, width = clips.vectors
    if number > width:
        return of_sets(FrechetDistance)(clips)
    warnings.warn(
        f"{number} vectors span fewer than the network's {width} dimensions: the Fréchet distance is biased "
        "upwards; compare it only with distances of equally many clips",
        stacklevel=2,
    )
    if number < 2:
        raise UndefinedMetric(f"the Fréchet distance needs at least two vectors, got {number}")
    generated, reference = clips.whole().sets
    means = [rows.double().mean(0) for rows in (generated, reference)]
    x, y = ((rows - mean) / math.sqrt(number - 1) for rows, mean in zip((generated, reference), means, strict=True))
    spread = x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()
    return {"": float(((means[0] - means[1]).square().sum() + spread).clamp_min(0))}  # but for rounding it is not below


def inception(clips: Collection, **options: Any) -> dict[str, float]:
    """The inception score of the generated sounds; see :mod:`consistency_tta.metrics.inception`."""
    metric = InceptionScore(_logits(clips.source)[0].shape[1], **options)
    for material in clips.chunks():
        metric.update(_logits(material)[0])
    return _figures(metric)


def of_sets(metric_class: Callable[..., Metric]) -> Callable[..., dict[str, float]]:
    """A metric class whose ``update`` takes vectors (B, D) and whether they are real."""

    def compute(clips: Collection, **options: Any) -> dict[str, float]:
        metric = metric_class(clips.vectors[1], **options)
        for material in clips.chunks():
            generated, reference = material.sets
            metric.update(reference, real=True)
            metric.update(generated, real=False)
        return _figures(metric)

    return compute


def kad_of_draws(clips: Collection, **options: Any) -> Callable[[Tensor], dict[str, float]]:
    """The kernel audio distance of clips by their positions; see :mod:`consistency_tta.evaluation.kernel_draws`."""
    if clips.vectors[0] ** 2 > BLOCK:  # the distances would not fit
        return lambda drawn: of_sets(KernelAudioDistance)(clips.draw(drawn), **options)
    material = clips.whole()
    distance = kernel_audio_distances(material.generated.vectors, material.reference.vectors, **options)

    def figures(drawn: Tensor) -> dict[str, float]:
        try:
            return {"": distance(drawn)}
        except ValueError as error:
            raise UndefinedMetric(str(error)) from error

    return figures


def of_logits(metric_class: Callable[..., Metric]) -> Callable[..., Tensor]:
    """A metric class whose ``update`` takes logits (B, K) of generated sounds and of their references."""

    def compute(material: Material, **options: Any) -> Tensor:
        return _one_by_one(metric_class(**options), *_logits(material))

    return compute


def log_spectral_distance(generated: Tensor, reference: Tensor, sample_rate: int, **options: Any) -> Tensor:
    """Of waveforms (B, samples), values (B,); see :mod:`consistency_tta.metrics.lsd`."""
    return _one_by_one(LogSpectralDistance(sample_rate, **options), generated, reference)


def _logits(material: Material) -> tuple[Tensor, Tensor]:
    if material.generated.logits is None or material.reference.logits is None:
        raise UndefinedMetric("it needs a network that names classes, such as mn04 or panns")
    return material.generated.logits, material.reference.logits


def _figures(metric: Metric) -> dict[str, float]:
    try:
        result = metric.compute()
    except ValueError as error:  # options were refused when the metric was made
        raise UndefinedMetric(str(error)) from error
    return {key: float(value) for key, value in (result if isinstance(result, dict) else {"": result}).items()}


def _one_by_one(metric: Metric, generated: Tensor, reference: Tensor) -> Tensor:
    """A mean's values for each clip (N,)."""
    values = []
    for pair in zip(generated.split(1), reference.split(1), strict=True):
        metric.reset()
        metric.update(*pair)
        values.append(metric.compute())
    return torch.stack(values)


def rehearse(metric: str, options: dict[str, Any], sample_rate: int, num_samples: int) -> None:
    """Find out whether a metric takes options, on next to nothing, before hours of listening.

    Args:
        metric: a name of :data:`METRICS`.
        options: of the protocol.
        sample_rate, num_samples: of the protocol's sounds.

    Raises:
        ValueError: it does not.
    """
    measure, heard = METRICS[metric], AudioEmbedding(torch.eye(2)[:, None], torch.eye(2))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of course these are too few
            if measure.kind is Kind.SOUND:
                measure.function(*torch.zeros(2, 1, num_samples), sample_rate=sample_rate, **options)
            else:
                two = Material(heard, heard, torch.eye(2), torch.arange(2))
                measure.function(two if measure.kind is Kind.CLIP else collect(two), **options)
    except UndefinedMetric:
        pass
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected options that {metric} takes, got {options}: {error}") from error


#: Metrics by the names that protocols use.
METRICS: dict[str, MetricSpec] = {
    "clap_score": MetricSpec("CLAP score", True, Kind.CLIP, clap_score),
    "similarity": MetricSpec("Similarity to the reference", True, Kind.CLIP, similarity),
    "distance": MetricSpec("Distance from the reference", False, Kind.CLIP, distance),
    "lsd": MetricSpec("Log-spectral distance", False, Kind.SOUND, log_spectral_distance),
    "kl_softmax": MetricSpec("KL divergence of classes", False, Kind.CLIP, of_logits(SoftmaxDivergence)),
    "kl_sigmoid": MetricSpec("KL divergence of events", False, Kind.CLIP, of_logits(SigmoidDivergence)),
    "frechet": MetricSpec("Fréchet distance", False, Kind.SET, frechet),
    "frechet_infinity": MetricSpec(
        "Fréchet distance of infinitely many", False, Kind.SET, of_sets(FrechetInfinity), ("r_squared",)
    ),
    "kad": MetricSpec("Kernel audio distance", False, Kind.SET, of_sets(KernelAudioDistance), of_draws=kad_of_draws),
    "kid": MetricSpec("Kernel distance, polynomial", False, Kind.SET, of_sets(KernelDistance)),
    "neighbours": MetricSpec("Nearest neighbours", True, Kind.SET, of_sets(Coverage)),
    "inception": MetricSpec("Inception score", True, Kind.SET, inception, ("std",)),
    "diversity": MetricSpec("Diversity within a caption", True, Kind.SET, diversity, ("reference",)),
}
