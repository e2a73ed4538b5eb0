"""The metrics a protocol can ask for, by name, and what each is told.

Three kinds: of the two sounds of a clip, of the vectors of a clip, and of the vectors of all clips. The first two give
a value for each clip, and their figure is the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchmetrics import Metric

from consistency_tta.metrics.diversity import PromptDiversity
from consistency_tta.metrics.embedder import Heard
from consistency_tta.metrics.frechet import FrechetDistance


@dataclass
class Material:
    """What one network made of N pairs of sounds.

    Attributes:
        generated, reference: vectors (N, W, D), and logits (N, K) of networks that name classes.
        text: what it made of the captions (N, D), unit vectors; None for a network without words.
        prompts: (N,) int64, equal for clips with the same caption.
    """

    generated: Heard
    reference: Heard
    text: Tensor | None
    prompts: Tensor

    def __len__(self) -> int:
        return len(self.prompts)

    def rows(self, index: Tensor) -> Material:
        """The pairs at ``index`` (int64 positions), in that order."""
        text = None if self.text is None else self.text[index]
        return Material(_rows(self.generated, index), _rows(self.reference, index), text, self.prompts[index])

    @cached_property
    def means(self) -> tuple[Tensor, Tensor]:
        """A vector for each generated and each reference sound, (N, D) float64."""
        return self.generated.vectors.double().mean(1), self.reference.vectors.double().mean(1)

    @cached_property
    def sets(self) -> tuple[Tensor, Tensor]:
        """All vectors of the generated and of the reference sounds, (N W, D)."""
        return self.generated.vectors.flatten(0, 1), self.reference.vectors.flatten(0, 1)


class Kind(StrEnum):
    """What a metric is told."""

    SOUND = "sound"
    CLIP = "clip"
    SET = "set"


@dataclass(frozen=True)
class Measure:
    """A metric.

    Attributes:
        title: in reports.
        higher_is_better: whether it is.
        kind: sound: generated and reference waveforms (B, samples) and the sample rate in Hz -> values (B,);
            clip: :class:`Material` of N pairs -> values (N,); set: :class:`Material` -> figures by name, the name of
            a metric's only figure being empty. All take the protocol's options, too.
        function: of it.
    """

    title: str
    higher_is_better: bool
    kind: Kind
    function: Callable[..., Any]


def _rows(heard: Heard, index: Tensor) -> Heard:
    return Heard(heard.vectors[index], None if heard.logits is None else heard.logits[index])


def clap_score(material: Material) -> Tensor:
    """Cosine of each generated sound with its caption (N,); see :mod:`consistency_tta.metrics.clap`."""
    if material.text is None:
        raise ValueError("the metric clap_score needs a network that reads captions, such as clap or tiny-clap")
    return F.cosine_similarity(material.means[0], material.text.double())


def similarity(material: Material) -> Tensor:
    """Cosine of each generated sound with its reference (N,)."""
    return F.cosine_similarity(*material.means)


def distance(material: Material) -> Tensor:
    """Euclidean distance of each generated sound from its reference (N,)."""
    return (material.means[0] - material.means[1]).norm(dim=1)


def diversity(material: Material) -> dict[str, float]:
    """How far apart lie generated sounds of one caption; see :mod:`consistency_tta.metrics.diversity`."""
    metric = PromptDiversity()
    metric.update(material.means[0], material.prompts)
    return {"": float(metric.compute())}


def of_sets(metric_class: Callable[..., Metric]) -> Callable[..., dict[str, float]]:
    """A metric class whose ``update`` takes vectors (B, D) and whether they are real."""

    def compute(material: Material, **options: Any) -> dict[str, float]:
        generated, reference = material.sets
        metric = metric_class(generated.shape[1], **options)
        metric.update(reference, real=True)
        metric.update(generated, real=False)
        result = metric.compute()
        return {key: float(value) for key, value in (result if isinstance(result, dict) else {"": result}).items()}

    return compute


#: Metrics by the names that protocols use.
MEASURES: dict[str, Measure] = {
    "frechet": Measure("Fréchet distance", False, Kind.SET, of_sets(FrechetDistance)),
    "clap_score": Measure("CLAP score", True, Kind.CLIP, clap_score),
    "similarity": Measure("Similarity to the reference", True, Kind.CLIP, similarity),
    "distance": Measure("Distance from the reference", False, Kind.CLIP, distance),
    "diversity": Measure("Diversity within a caption", True, Kind.SET, diversity),
}
