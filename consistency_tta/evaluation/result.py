"""What an evaluation found, as data: ``result.json``, with everything that is needed to know what the figures mean."""

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


@dataclass(frozen=True)
class MetricValue:
    """A metric's value.

    Attributes:
        name: ``metric/network``, and the name of the figure where a metric has several.
        title: for people.
        higher_is_better: whether it is; None if neither is better.
        value: of all clips.
        interval: where it may lie; None where the protocol asks for none.
    """

    name: str
    title: str
    higher_is_better: bool | None
    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Judge:
    """A network that heard.

    Attributes:
        name: of the network.
        sha256: of its weights.
        pinned: whether the protocol asks for these very weights; if not, it asks for none.
        is_reward: whether the model was fine-tuned by this very network; None if nothing is known of a reward.
    """

    name: str
    sha256: str
    pinned: bool
    is_reward: bool | None

    def pleased(self, figures: str) -> str:
        """What to say of figures, several by their names, where it is the reward."""
        return (
            f"{self.name} taught the model, as the reward, and is the judge: {figures} tell how well the model "
            "learnt to please it, not how good it is"
        )


@dataclass
class Result:
    """What an evaluation found.

    Attributes:
        protocol: by which.
        version: of this package.
        generated, reference, captions: where the sounds and captions came from.
        more: folders with more generated sounds of the same clips, which count for diversity alone.
        captions_sha256: of the caption file.
        origin: how the sounds are said to be made.
        pairs: the clips that count.
        asked: clips that should count.
        left_out: clips that do not, and why.
        odd: sounds that count though they are silent, or shorter than the protocol has them.
        unused: files that no clip claims.
        formats: of the files, by side.
        judges: networks that heard.
        figures: in the protocol's order.
        per_clip: values of each clip, in the order of ``pairs``, by metric.
        warnings: what whoever reads the figures must know.
    """

    protocol: Protocol
    version: str
    generated: Path
    more: list[Path]
    reference: Path
    captions: Path
    captions_sha256: str
    origin: Provenance
    pairs: list[Pair]
    asked: int
    left_out: list[Finding]
    odd: list[Finding]
    unused: list[Finding]
    formats: dict[str, dict[str, int]]
    judges: list[Judge]
    figures: list[MetricValue] = field(default_factory=list)
    per_clip: dict[str, list[float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def ranking(self) -> list[int]:
        """Positions of the clips from the best to the worst by the first metric with values per clip; else empty."""
        for figure in self.figures:
            if values := self.per_clip.get(figure.name):
                sign = -1 if figure.higher_is_better else 1
                return sorted(range(len(values)), key=lambda k: sign * values[k])
        return []

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it; infinity and NaN become null."""
        protocol = {key: value for key, value in asdict(self.protocol).items() if key != "source"}
        clips = [
            {"id": pair.id, "caption": pair.caption} | {name: values[k] for name, values in self.per_clip.items()}
            for k, pair in enumerate(self.pairs)
        ]
        content = {
            "protocol": protocol,
            "consistency_tta": self.version,
            "generated": str(self.generated),
            "more_generated": list(map(str, self.more)),
            "reference": str(self.reference),
            "captions": {"file": self.captions.name, "sha256": self.captions_sha256},
            "model": self.origin.model,
            "rewards": self.origin.rewards.to_dict(),
            "generation": self.origin.generation,
            "clips_in_protocol": self.protocol.clips.number,
            "clips_asked": self.asked,
            "clips_used": len(self.pairs),
            "warnings": self.warnings,
            "networks": [asdict(judge) for judge in self.judges],
            "figures": [asdict(figure) for figure in self.figures],
            "left_out": [asdict(finding) for finding in self.left_out],
            "counted_as_they_are": [asdict(finding) for finding in self.odd],
            "unused_files": [asdict(finding) for finding in self.unused],
            "formats": self.formats,
            "clips": clips,
        }
        return _finite(content)

    def write(self, file: Path) -> None:
        """Write the JSON file."""
        file.write_text(
            json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
