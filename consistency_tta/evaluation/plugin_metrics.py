"""Metrics of a third party: any subclass of :class:`torchmetrics.Metric`, named ``package.module.Class`` in a protocol.

The parameters of ``update`` name the inputs, see :mod:`consistency_tta.metrics.inputs`. The class may have

    per_clip          True for one value for each clip: the metric is reset, updated with one clip, and computed
    higher_is_better  True, False or None, as torchmetrics has it
    title             for reports; the class's name if there is none

Its constructor takes the protocol's ``options``, and ``num_features`` (the width of the vectors) or ``sample_rate`` (of
the protocol) where it has such a parameter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation.clip_embeddings import Collection, Material
from consistency_tta.evaluation.metric_functions import computed_values
from consistency_tta.evaluation.metric_specs import METRICS, Kind, MetricSpec
from consistency_tta.metrics.inputs import RECORDINGS, WAVEFORMS, metric_inputs, select_inputs
from consistency_tta.runtime.errors import ConfigurationError


def find_metric(name: str) -> MetricSpec:
    """A built-in metric by its name in :data:`METRICS`, or a third party's by its class, ``package.module.Class``.

    Raises:
        ConfigurationError: the metric is unknown, or its ``update`` takes what an evaluation does not have.
    """
    for entry_point in entry_points(group="consistency_tta.plugins"):
        entry_point.load()
    return METRICS[name] if name in METRICS else PluginMetric(name).spec


class PluginMetric:
    """A metric class as functions of embeddings or waveforms.

    Args:
        path: of the class, ``package.module.Class``.

    Raises:
        ConfigurationError: see :func:`find_metric`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.metric_class = _import_metric(path)
        self.needed = metric_inputs(path, self.metric_class)
        per_clip: bool = getattr(self.metric_class, "per_clip", False)
        if self.needed & WAVEFORMS and (not per_clip or not self.needed <= WAVEFORMS | {"captions"}):
            raise ConfigurationError(
                f"metric {path!r} takes waveforms: it must have per_clip = True and take no embeddings, but takes "
                f"{', '.join(sorted(self.needed))}"
            )
        if "real" in self.needed and (per_clip or self.needed & RECORDINGS):
            raise ConfigurationError(f"metric {path!r} takes real: then it must have no per_clip, and no recordings")
        self.kind = Kind.SOUND if self.needed & WAVEFORMS else Kind.CLIP if per_clip else Kind.SET

    @property
    def spec(self) -> MetricSpec:
        """As evaluations need it."""
        functions: dict[Kind, Callable[..., Any]] = {
            Kind.SOUND: self.values_of_sounds,
            Kind.CLIP: self.values_of_clips,
            Kind.SET: self.values_of_set,
        }
        return MetricSpec(
            getattr(self.metric_class, "title", self.metric_class.__name__),
            self.metric_class.higher_is_better,
            self.kind,
            functions[self.kind],
            takes_captions=True,
            make=self.make,
        )

    def make(self, num_features: int = 1, sample_rate: int = 16000, **options: Any) -> Metric:
        """The metric."""
        known = inspect.signature(self.metric_class).parameters
        offered = {"num_features": num_features, "sample_rate": sample_rate}
        return self.metric_class(**{key: value for key, value in offered.items() if key in known}, **options)

    def values_of_sounds(
        self, generated: Tensor, reference: Tensor, sample_rate: int, captions: Sequence[str], **options: Any
    ) -> Tensor:
        """Values (B,) of waveforms (B, samples)."""
        metric = self.make(sample_rate=sample_rate, **options).to(generated.device)
        inputs = (
            {"waveform": made[None], "recording": recorded[None], "sample_rate": sample_rate, "captions": [caption]}
            for made, recorded, caption in zip(generated, reference, captions, strict=True)
        )
        return self._one_by_one(metric, inputs)

    def values_of_clips(self, material: Material, **options: Any) -> Tensor:
        """Values (N,) of the embeddings of N clips."""
        metric = self.make(num_features=material.generated.vectors.shape[2], **options)
        clips = Collection(material, torch.arange(len(material.prompts)))
        return self._one_by_one(metric, (self._inputs(clips.draw(k).whole()) for k in clips.clips.split(1)))

    def values_of_set(self, clips: Collection, **options: Any) -> dict[str, float]:
        """Values by name, of the embeddings of all clips."""
        metric = self.make(num_features=clips.vectors[1], **options)
        for material in clips.chunks():
            metric.update(**select_inputs(self.path, self.needed, self._inputs(material)))
            if "real" in self.needed:
                recorded = {"vectors": material.paired.vectors, "logits": material.paired.logits, "real": True}
                metric.update(**select_inputs(self.path, self.needed, recorded))
        return computed_values(metric)

    def _one_by_one(self, metric: Metric, inputs: Iterator[dict[str, Any]]) -> Tensor:
        values = []
        for clip in inputs:
            metric.reset()
            metric.update(**select_inputs(self.path, self.needed, clip))
            values.append(computed_values(metric))
        if any(value.keys() != {""} for value in values):
            raise ConfigurationError(f"metric {self.path!r} has per_clip: it must compute one number, got {values[0]}")
        return torch.tensor([value[""] for value in values], dtype=torch.float64)

    def _inputs(self, material: Material) -> dict[str, Any]:
        recording: AudioEmbedding | None = material.paired if self.needed & RECORDINGS else None
        return {
            "vectors": material.generated.vectors,
            "logits": material.generated.logits,
            "text_vectors": material.text,
            "recording_vectors": None if recording is None else recording.vectors.mean(1),
            "recording_logits": None if recording is None else recording.logits,
            "prompts": material.prompts,
            "captions": list(material.captions),
            "real": False,
        }


def _import_metric(path: str) -> type[Metric]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"expected metrics among {', '.join(METRICS)}, or a class as package.module.Class, got {path} ({error})"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Metric)):
        raise ConfigurationError(f"expected {path} to be a subclass of torchmetrics.Metric, got {found!r}")
    return found
