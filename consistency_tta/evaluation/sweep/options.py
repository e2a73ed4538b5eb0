"""The options of a sweep's evaluator, and the conditions under which two scores can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from consistency_tta.evaluation.sweep.by_protocol import ByProtocol
from consistency_tta.evaluation.sweep.without_protocol import WithoutProtocol
from consistency_tta.generation.folder import Folder
from consistency_tta.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class EvaluatorOptions:
    """What computes the scores of a sweep.

    Args:
        clap: folder, bundled name, fetched hub id or checkpoint of laion_clap: the network of the CLAP score.
        real: folder of recordings, the reference of the Fréchet distance; null for the statistics in the CLAP's folder.
        tagger: EfficientAT's ``mn04_as_mAP_432.pt``, whose embeddings the Fréchet distance to ``real`` compares; null
            for the CLAP's own embeddings.
        protocol: a protocol's name or YAML file, by which ``evaluate`` compares the sounds with ``real``; it names the
            networks.
        weights: file or folder of a protocol's network, as ``mn04=path``.
    """

    clap: str = "tiny-clap"
    real: Path | None = None
    tagger: Path | None = None
    protocol: str | None = None
    weights: str | list[str] | None = None

    @cached_property
    def chosen(self) -> ByProtocol | WithoutProtocol:
        """The evaluator that these options choose.

        Raises:
            ConfigurationError: the options do not go together.
        """
        if self.protocol is None:
            if self.weights is not None:
                raise ConfigurationError(
                    f"expected evaluator.weights with an evaluator.protocol alone, got {self.weights}"
                )
            return WithoutProtocol(self.clap, self.real, self.tagger)
        if self.clap != EvaluatorOptions.clap or self.tagger is not None:
            raise ConfigurationError(
                "expected no evaluator.clap and no evaluator.tagger with evaluator.protocol, which names its networks: "
                "give their weights as evaluator.weights"
            )
        if self.real is None:
            raise ConfigurationError(
                "expected evaluator.real, the folder of recordings, with evaluator.protocol, got none"
            )
        return ByProtocol(self.protocol, self.real, self.weights)

    @property
    def conditions(self) -> dict[str, Any]:
        """What scores depend on besides the sounds, as JSON takes it: scores are comparable if it is equal.

        It has ``protocol``, ``sounds`` (how they are prepared), ``resampler``, ``networks`` by name, under ``clap``,
        ``frechet`` and ``diversity`` the names of the networks that these values come from, and the ``reference``.
        """
        return self.chosen.conditions

    def check(self, captions: Path) -> None:
        """Check all options, before hours of generation.

        Args:
            captions: of the sounds that will be generated.

        Raises:
            FileNotFoundError: recordings, weights or a protocol do not exist.
            ConfigurationError, DataError: options do not go together, or recordings cannot be used.
        """
        self.chosen.check(captions)

    def score(self, folder: Folder, captions: Path, device: torch.device) -> dict[str, Any]:
        """The scores of a folder, as JSON takes them: values, networks, and warnings.

        Args:
            folder: which has all its sounds.
            captions: the file that they were generated for.
            device: of the networks.
        """
        return self.chosen.score(folder, captions, device)
