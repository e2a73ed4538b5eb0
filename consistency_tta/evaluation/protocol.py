"""A protocol: a YAML file that specifies an evaluation, so that results of different models can be compared.

A protocol names the clips and their captions, what is done to sounds before they are embedded, the networks that embed
them with the SHA-256 of their weights, the metrics with their options, and all seeds. The list of clips lies in the
same folder and is pinned by its SHA-256; so the SHA-256 of the YAML file pins everything, and every result states it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consistency_tta.audio.resample import ATTENUATION, ZERO_CROSSINGS

#: What :class:`consistency_tta.audio.resample.Resample` is; a protocol that was made with another is refused.
RESAMPLER = f"kaiser-sinc-{ZERO_CROSSINGS}-{ATTENUATION:g}dB"


@dataclass(frozen=True)
class ClipList:
    """Which clips are evaluated.

    Attributes:
        number: of the clips.
        file: caption file in the YAML's folder, one caption a clip; None where it may not be shipped or is not known:
            then the user's caption file is the list.
        sha256: of that file.
    """

    number: int
    file: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class AudioSettings:
    """What is done to every sound, in this order, before a network embeds it.

    Attributes:
        sample_rate: in Hz. Channels are averaged first.
        resampler: must be :data:`RESAMPLER`.
        seconds: longer sounds are cut at their end, shorter ones followed by silence.
        mean_removed: whether the mean is subtracted.
        peak: the largest magnitude each sound is scaled to, in (0, 1]; None leaves it as loud as it is.
    """

    sample_rate: int
    resampler: str
    seconds: float
    mean_removed: bool = True
    peak: float | None = None

    @property
    def num_samples(self) -> int:
        """Length of every sound."""
        return round(self.seconds * self.sample_rate)


@dataclass(frozen=True)
class NetworkSettings:
    """A network that embeds sounds.

    Attributes:
        sha256: of the published weights; None to accept any: a result states which were found.
        weights: name of the published file.
    """

    sha256: str | None = None
    weights: str | None = None


@dataclass(frozen=True)
class MetricSettings:
    """A metric.

    Attributes:
        metric: a name in :data:`consistency_tta.evaluation.metric_specs.METRICS`, or the class of a third party's
            metric, ``package.module.Class``, see :mod:`consistency_tta.evaluation.plugin_metrics`.
        network: whose embeddings it takes, a name among the protocol's; None for a metric of waveforms.
        options: of the metric.
        interval: whether to compute a confidence interval; that takes as long as the metric for each draw.
    """

    metric: str
    network: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    interval: bool = True

    @property
    def name(self) -> str:
        """In results."""
        return self.metric.rpartition(".")[2] + (f"/{self.network}" if self.network else "")


@dataclass(frozen=True)
class BootstrapSettings:
    """Confidence intervals by draws of clips; see :mod:`consistency_tta.evaluation.bootstrap`.

    Attributes:
        resamples: for means over clips.
        set_resamples: for metrics of whole sets, each of which takes as long as the metric itself.
        confidence: of the intervals, in (0, 1).
    """

    resamples: int = 1000
    set_resamples: int = 200
    confidence: float = 0.95


@dataclass(frozen=True)
class ProtocolSettings:
    """The content of a protocol's YAML file.

    Attributes:
        name: of the protocol, the file's without ``.yaml``.
        version: rises with every change that changes values.
        description: where the protocol comes from, and what is not known of it.
        clips: which clips are evaluated.
        audio: what is done to their sounds.
        networks: by name, see :func:`consistency_tta.evaluation.networks.make_network`.
        metrics: in the order of the report; the first that has a value for each clip ranks the clips.
        bootstrap: intervals.
        seed: of the bootstrap. Metrics that draw have a ``seed`` of their own among their options, 0 if not given.
        generation_seed: the seed to generate with; a folder that was generated with another is warned of.
    """

    name: str
    version: int
    description: str
    clips: ClipList
    audio: AudioSettings
    networks: dict[str, NetworkSettings]
    metrics: list[MetricSettings]
    bootstrap: BootstrapSettings = field(default_factory=BootstrapSettings)
    seed: int = 0
    generation_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Protocol(ProtocolSettings):
    """A protocol that was read from a file.

    Attributes:
        source: the YAML file.
        sha256: of its bytes.
    """

    source: Path
    sha256: str

    @property
    def clip_list(self) -> Path | None:
        """The caption file with the protocol's clips."""
        return self.source.parent / self.clips.file if self.clips.file else None
