"""Who judges a sweep, and what makes two scores comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from consistency_tta.audio.recordings import check_recordings, recordings
from consistency_tta.components.clap import TransformersClap
from consistency_tta.evaluation.comparison import REAL_CLIPS, RealClips
from consistency_tta.evaluation.protocol import RESAMPLER
from consistency_tta.evaluation.sweep.by_protocol import ByProtocol
from consistency_tta.metrics.mn04 import MIN_SAMPLES, SAMPLE_RATE
from consistency_tta.storage.bundled import TRANSFORMERS, resolve
from consistency_tta.storage.checksum import checksum


@dataclass(frozen=True)
class Judge:
    """Who judges a sweep.

    Args:
        clap: folder, bundled name, fetched hub id or checkpoint of laion_clap: the CLAP score's.
        real: folder of recordings to which the Fréchet distance is taken; null for the statistics beside the CLAP.
        tagger: EfficientAT's ``mn04_as_mAP_432.pt``, in whose embedding the Fréchet distance is taken, to ``real``;
            null for the CLAP's own embedding.
        protocol: a protocol's name or YAML file, by which ``evaluate`` judges the sounds beside ``real``; it names the
            networks.
        weights: where a protocol's networks have their weights, as ``mn04=path``.
    """

    clap: str = "tiny-clap"
    real: Path | None = None
    tagger: Path | None = None
    protocol: str | None = None
    weights: str | list[str] | None = None

    @cached_property
    def by_protocol(self) -> ByProtocol | None:
        """The judge by a protocol, if there is one."""
        if self.protocol is None:
            if self.weights is not None:
                raise ValueError(f"expected judge.weights beside a judge.protocol alone, got {self.weights}")
            return None
        if self.clap != Judge.clap or self.tagger is not None:
            raise ValueError(
                "expected no judge.clap and no judge.tagger beside judge.protocol, which names its networks: say with "
                "judge.weights where their weights are"
            )
        if self.real is None:
            raise ValueError("expected judge.real, the folder of recordings, beside judge.protocol, got none")
        return ByProtocol(self.protocol, self.real, self.weights)

    @cached_property
    def hearer(self) -> TransformersClap:
        """The CLAP."""
        return TransformersClap(resolve(self.clap, TRANSFORMERS))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What scores depend on beside the sounds, as JSON takes it: all of it is printed, and equal where comparable.

        ``networks`` are those that hear; ``clap`` and ``frechet`` say by name which of them find these figures.
        """
        if self.by_protocol is not None:
            return self.by_protocol.facts | {"reference": self._reference()}
        networks: dict[str, dict[str, Any]] = {
            self.clap: {"sha256": self.hearer.checksum, "sample_rate": self.hearer.sample_rate}
        }
        if (folder := Path(resolve(self.clap, TRANSFORMERS))).is_dir():  # its tokenizer and front end count, too
            networks[self.clap]["files_sha256"] = checksum(*_files(folder))
        distance = self.clap
        if self.tagger is not None:
            distance = str(self.tagger) if self.tagger.stem == self.clap else self.tagger.stem
            networks[distance] = {"sha256": checksum(self.tagger), "sample_rate": SAMPLE_RATE}
        return {
            "protocol": None,
            "sounds": (
                f"mono, whole, as loud as they are, mean kept, resampled once ({RESAMPLER}), to the network's rate"
            ),
            "resampler": RESAMPLER,
            "networks": networks,
            "clap": self.clap,
            "frechet": distance,
            "reference": self._reference(),
        }

    def check(self, captions: Path) -> None:
        """See that all is there and can be used, before hours of generation.

        Args:
            captions: of the sounds that are to be made.

        Raises:
            FileNotFoundError: something is not there.
            ValueError: a tagger or protocol without recordings, recordings that cannot be used, a protocol that does
                not fit.
        """
        if self.by_protocol is not None:
            self.by_protocol.check(captions)
        elif self.tagger is not None and self.real is None:
            raise ValueError("expected judge.real, a folder of recordings, beside judge.tagger, got none")
        elif self.tagger is not None and not self.tagger.is_file():
            raise FileNotFoundError(f"expected the tagger's weights, but there is no {self.tagger}")
        elif self.real is not None:
            shortest = 0 if self.tagger is None else MIN_SAMPLES / SAMPLE_RATE
            check_recordings(self.real, least=2, min_seconds=shortest)
        _ = self.facts  # of which the networks, and statistics in the place of recordings, must be there

    def _reference(self) -> dict[str, Any]:
        """Where the recordings are, how many, and the SHA-256 of their contents, or of the statistics of them."""
        if self.real is not None:
            files = recordings(self.real, least=2)
            return {"place": str(self.real), "recordings": len(files), "sha256": checksum(*files)}
        file = Path(resolve(self.clap, TRANSFORMERS)) / REAL_CLIPS
        count = RealClips.load(self.clap).count
        return {"place": f"the statistics beside {self.clap}", "recordings": count, "sha256": checksum(file)}


def _files(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
