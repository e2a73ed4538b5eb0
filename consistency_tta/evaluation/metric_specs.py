"""The metrics of evaluations by name, and what each is computed from.

There are three kinds: of the two waveforms of a clip, of the embeddings of a clip, and of the embeddings of all clips.
The first two have a value for each clip, and the value of all clips is the mean. A third party's metric is named by its
class, ``package.module.Class``; see :mod:`consistency_tta.evaluation.plugin_metrics`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation import metric_functions as functions
from consistency_tta.evaluation.clip_embeddings import Collection, Material, UndefinedMetric, collect
from consistency_tta.metrics.coverage import Coverage
from consistency_tta.metrics.divergence import SigmoidDivergence, SoftmaxDivergence
from consistency_tta.metrics.frechet_infinity import FrechetInfinity
from consistency_tta.metrics.kernel import KernelAudioDistance, KernelDistance
from consistency_tta.runtime.errors import ConfigurationError


class Kind(StrEnum):
    """What a metric is computed from."""

    SOUND = "sound"
    CLIP = "clip"
    SET = "set"


@dataclass(frozen=True)
class MetricSpec:
    """A metric.

    Attributes:
        title: in reports.
        higher_is_better: None if neither is better.
        kind: see above.
        function: takes the protocol's options, and for sound: generated and reference waveforms (B, samples),
            ``sample_rate`` in Hz and ``captions`` if ``takes_captions`` -> values (B,); for clip: :class:`Material` of
            N clips -> values (N,); for set: :class:`Collection` -> values by name, where a single value's name is
            empty. The last two may raise :class:`UndefinedMetric`.
        neither: names of values that are neither better when higher nor when lower.
        of_draws: :class:`Collection` and options -> a function of clips' positions with the values of those clips; for
            metrics of sets that would take too long to compute anew for each draw of the bootstrap.
        takes_captions: see ``function``.
        make: makes the metric of its options, and refuses wrong ones; by default options are tried on two clips.
    """

    title: str
    higher_is_better: bool | None
    kind: Kind
    function: Callable[..., Any]
    neither: tuple[str, ...] = ()
    of_draws: Callable[..., Callable[[Tensor], dict[str, float]]] | None = None
    takes_captions: bool = False
    make: Callable[..., Any] | None = None

    def per_clip(self, clips: Collection, **options: Any) -> Tensor:
        """Values (N,) of a metric of clips."""
        return torch.cat([self.function(material, **options) for material in clips.chunks()])

    def draw_values(self, clips: Collection, **options: Any) -> Callable[[Tensor], dict[str, float]]:
        """A function of positions of clips (M,) with a set metric's values of those, or :class:`UndefinedMetric`."""
        if self.of_draws is not None:
            return self.of_draws(clips, **options)
        return lambda drawn: self.function(clips.draw(drawn), **options)


def try_options(name: str, spec: MetricSpec, options: dict[str, Any], sample_rate: int, num_samples: int) -> None:
    """Try a metric's options on two toy clips, before hours of embedding.

    Args:
        name: of the metric.
        spec: of the metric.
        options: of the protocol.
        sample_rate, num_samples: of the protocol's sounds.

    Raises:
        ConfigurationError: the metric does not take them.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # two clips are too few
            if spec.make is not None:
                spec.make(**options)
            elif spec.kind is Kind.SOUND:
                spec.function(*torch.zeros(2, 1, num_samples), sample_rate=sample_rate, **options)
            else:
                embedding = AudioEmbedding(torch.eye(2)[:, None], torch.eye(2))
                two = Material(embedding, embedding, torch.eye(2), torch.arange(2))
                spec.function(two if spec.kind is Kind.CLIP else collect(two), **options)
    except UndefinedMetric:
        pass
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"expected options that {name} takes, got {options}: {error}") from error


#: Built-in metrics by the names that protocols use.
METRICS: dict[str, MetricSpec] = {
    "clap_score": MetricSpec("CLAP score", True, Kind.CLIP, functions.clap_score),
    "similarity": MetricSpec("Similarity to the reference", True, Kind.CLIP, functions.similarity),
    "distance": MetricSpec("Distance from the reference", False, Kind.CLIP, functions.distance),
    "lsd": MetricSpec("Log-spectral distance", False, Kind.SOUND, functions.log_spectral_distance),
    "kl_softmax": MetricSpec("KL divergence of classes", False, Kind.CLIP, functions.of_logits(SoftmaxDivergence)),
    "kl_sigmoid": MetricSpec("KL divergence of events", False, Kind.CLIP, functions.of_logits(SigmoidDivergence)),
    "frechet": MetricSpec("Fréchet distance", False, Kind.SET, functions.frechet),
    "frechet_infinity": MetricSpec(
        "Fréchet distance of infinitely many", False, Kind.SET, functions.of_sets(FrechetInfinity), ("r_squared",)
    ),
    "kad": MetricSpec(
        "Kernel audio distance",
        False,
        Kind.SET,
        functions.of_sets(KernelAudioDistance),
        of_draws=functions.kad_of_draws,
    ),
    "kid": MetricSpec("Kernel distance, polynomial", False, Kind.SET, functions.of_sets(KernelDistance)),
    "neighbours": MetricSpec("Nearest neighbours", True, Kind.SET, functions.of_sets(Coverage)),
    "inception": MetricSpec("Inception score", True, Kind.SET, functions.inception, ("std",)),
    "diversity": MetricSpec("Diversity within a caption", True, Kind.SET, functions.diversity, ("reference",)),
}
