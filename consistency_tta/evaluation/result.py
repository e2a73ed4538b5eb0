"""The result of an evaluation as data, which ``result.json`` holds."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from consistency_tta.evaluation.bootstrap import Interval
from consistency_tta.evaluation.clips import Finding, Pair
from consistency_tta.evaluation.protocol import Protocol
from consistency_tta.evaluation.provenance import Provenance

#: Of ``result.json``. Version 1 called ``metric_values`` figures, ``clips_requested`` clips_asked, and
#: ``silent_or_short`` counted_as_they_are.
FORMAT = 2


@dataclass(frozen=True)
class MetricValue:
    """The value of a metric.

    Attributes:
        name: ``metric/network``, followed by the value's own name where a metric has several values.
        title: for reports.
        higher_is_better: None if neither is better.
        value: over all clips.
        interval: confidence interval; None where there is none.
    """

    name: str
    title: str
    higher_is_better: bool | None
    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class EmbeddingNetwork:
    """A network that embedded the sounds.

    Attributes:
        name: of the network.
        sha256: of its weights.
        pinned: whether the protocol requires these weights; if not, it accepts any.
        is_reward: whether the model was fine-tuned with this network; None if that is not known.
    """

    name: str
    sha256: str
    pinned: bool
    is_reward: bool | None

    def reward_warning(self, metrics: str) -> str:
        """The warning for ``metrics``, names with commas between, of a network that was the reward."""
        return (
            f"The model was fine-tuned with {self.name}, which also evaluates it: {metrics} may be high because the "
            "model overfits that network, not because it sounds good"
        )


@dataclass
class EvaluationResult:
    """The result of an evaluation.

    Attributes:
        protocol: that was followed.
        version: of this package.
        generated, reference, captions: folders and file that were evaluated.
        more: folders with more generated sounds of the same clips, used for diversity alone.
        captions_sha256: of the caption file.
        provenance: how the sounds were generated, as far as it is known.
        pairs: the clips that were used.
        requested: number of clips that should have been used.
        left_out: clips that were not, and why.
        silent_or_short: sounds that were used though they are silent, or shorter than the protocol's length.
        unused: files that belong to no clip.
        formats: number of files of each format, for each side.
        networks: that embedded the sounds.
        metric_values: in the protocol's order.
        per_clip: values of each clip, in the order of ``pairs``, by metric.
        warnings: what a reader of the values must know.
    """

    protocol: Protocol
    version: str
    generated: Path
    more: list[Path]
    reference: Path
    captions: Path
    captions_sha256: str
    provenance: Provenance
    pairs: list[Pair]
    requested: int
    left_out: list[Finding]
    silent_or_short: list[Finding]
    unused: list[Finding]
    formats: dict[str, dict[str, int]]
    networks: list[EmbeddingNetwork]
    metric_values: list[MetricValue] = field(default_factory=list)
    per_clip: dict[str, list[float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def ranking(self) -> list[int]:
        """Positions of the clips, best first, by the first metric with a value per clip; empty without one."""
        for found in self.metric_values:
            if values := self.per_clip.get(found.name):
                sign = -1 if found.higher_is_better else 1
                return sorted(range(len(values)), key=lambda k: sign * values[k])
        return []

    def to_dict(self) -> dict[str, Any]:
        """The content of ``result.json``; infinity and NaN become null."""
        protocol = {key: value for key, value in asdict(self.protocol).items() if key != "source"}
        clips = [
            {"id": pair.id, "caption": pair.caption} | {name: values[k] for name, values in self.per_clip.items()}
            for k, pair in enumerate(self.pairs)
        ]
        content = {
            "format": FORMAT,
            "protocol": protocol,
            "consistency_tta": self.version,
            "generated": str(self.generated),
            "more_generated": list(map(str, self.more)),
            "reference": str(self.reference),
            "captions": {"file": self.captions.name, "sha256": self.captions_sha256},
            "model": self.provenance.model,
            "rewards": self.provenance.rewards.to_dict(),
            "generation": self.provenance.generation,
            "clips_in_protocol": self.protocol.clips.number,
            "clips_requested": self.requested,
            "clips_used": len(self.pairs),
            "warnings": self.warnings,
            "networks": [asdict(network) for network in self.networks],
            "metric_values": [asdict(found) for found in self.metric_values],
            "left_out": [asdict(finding) for finding in self.left_out],
            "silent_or_short": [asdict(finding) for finding in self.silent_or_short],
            "unused_files": [asdict(finding) for finding in self.unused],
            "formats": self.formats,
            "clips": clips,
        }
        return _finite(content)

    def write(self, file: Path) -> None:
        """Write the JSON file; in names that are no text, bytes are escaped."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        file.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
