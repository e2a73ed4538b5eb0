"""The inputs of metrics: any :class:`torchmetrics.Metric` takes those that the parameters of its ``update`` name.

    waveform           (B, samples) in [-1, 1]
    sample_rate        of the waveforms, in Hz
    captions           B captions
    prompts            (B,) int64, equal for sounds of the same caption
    vectors            (N, D) of the encoder, N = B W for W windows a sound; also called ``embeddings``. A metric that
                       also takes any of captions, prompts, text_vectors or recording_vectors gets one vector for each
                       sound, (B, D), the mean over W
    text_vectors       (B, D) of the captions, unit vectors
    logits             (B, K) of the encoder
    real               False for generated sounds. The metric is updated with the recordings, too, and real=True
    recording          (B, samples), the recordings of the same clips
    recording_vectors  (B, D), the mean over W
    recording_logits   (B, K)

The validation callback :class:`consistency_tta.training.callbacks.sound_metrics.SoundMetrics` and the command
``evaluate`` both select inputs by these names, so a metric works in both.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from consistency_tta.runtime.errors import ConfigurationError

#: Inputs that need an encoder.
EMBEDDINGS = {"vectors", "embeddings", "logits", "text_vectors", "recording_vectors", "recording_logits"}
#: Inputs that need the recording of each clip.
RECORDINGS = {"recording", "recording_vectors", "recording_logits"}
#: Inputs that need the waveforms.
WAVEFORMS = {"waveform", "sample_rate", "recording"}
INPUTS = EMBEDDINGS | RECORDINGS | WAVEFORMS | {"captions", "prompts", "real"}
#: Inputs of which there is one for each sound.
_BY_SOUND = {"captions", "prompts", "text_vectors", "recording_vectors"}


def metric_inputs(name: str, metric: Metric | type[Metric]) -> set[str]:
    """The inputs that the ``update`` of a metric takes.

    Args:
        name: of the metric in messages.
        metric: the metric or its class.

    Raises:
        ConfigurationError: it takes none of :data:`INPUTS`, or requires another parameter.
    """
    parameters = [p for p in inspect.signature(metric.update).parameters.values() if p.name != "self"]
    needed = {p.name for p in parameters if p.name in INPUTS or p.default is inspect.Parameter.empty}
    if not needed or needed - INPUTS:
        kind = metric.__name__ if isinstance(metric, type) else type(metric).__name__
        raise ConfigurationError(
            f"metric {name!r} ({kind}) must update with some of {', '.join(sorted(INPUTS))}, but takes "
            f"{', '.join(sorted(needed)) or 'nothing'}"
        )
    return needed


def select_inputs(name: str, needed: set[str], available: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of one update.

    Args:
        name: of the metric in messages.
        needed: as :func:`metric_inputs` returns them.
        available: inputs by their names, of them ``vectors`` (B, W, D); None where the encoder does not compute one.

    Raises:
        ConfigurationError: the encoder lacks what the metric needs.
    """
    selected: dict[str, Any] = {key: available.get("vectors" if key == "embeddings" else key) for key in needed}
    if missing := sorted(key for key in needed & EMBEDDINGS if selected[key] is None):
        raise ConfigurationError(f"metric {name!r} needs {', '.join(missing)}, which the encoder does not compute")
    for key in needed & {"vectors", "embeddings"}:
        vectors = selected[key]
        selected[key] = vectors.mean(1) if needed & _BY_SOUND else vectors.flatten(0, 1)
    if {"recording", "waveform"} <= needed:
        length = min(selected["waveform"].shape[1], selected["recording"].shape[1])
        selected |= {key: selected[key][:, :length] for key in ("waveform", "recording")}
    return selected


def metric_numbers(name: str, computed: Any) -> dict[str, Tensor]:
    """The scalars that a metric computed, by name: ``name``, or ``name/key`` for each key of a dictionary.

    Raises:
        ConfigurationError: it computed something else.
    """
    several = isinstance(computed, dict)
    numbers = {f"{name}/{key}": value for key, value in computed.items()} if several else {name: computed}
    for key, value in numbers.items():
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ConfigurationError(
                f"metric {key!r} must compute a number, or several by name, got {type(value).__name__}: {value}"
            )
    return numbers
