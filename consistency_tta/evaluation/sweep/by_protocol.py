"""Scores of a sweep by a protocol: those that ``consistency-tta evaluate`` computes of each folder of sounds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from consistency_tta.audio.recordings import read_recording, recordings
from consistency_tta.evaluation.evaluate import CACHE, write
from consistency_tta.evaluation.folder_evaluation import checked_protocol, evaluate_folder
from consistency_tta.evaluation.markdown import protocol_settings, used
from consistency_tta.evaluation.networks import make_networks, weights_by_name
from consistency_tta.evaluation.pairing import find_pairs
from consistency_tta.evaluation.protocol import Protocol
from consistency_tta.evaluation.sweep.intervals import REQUIRED, drawn_values
from consistency_tta.generation.folder import Folder
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.storage.captions import caption_file
from consistency_tta.storage.checksum import checksum

#: Folder in a point's folder of sounds, for what ``evaluate`` writes.
REPORT = "report"
#: The metrics that are drawn, the first of each in the protocol.
DRAWN = {"clap": "clap_score", "frechet": "frechet", "diversity": "diversity"}


@dataclass(frozen=True)
class ByProtocol:
    """Computes scores by a protocol.

    Args:
        protocol: name of one that comes with the package, or a YAML file.
        real: folder of the recordings, named as the clips.
        weights: of networks, as ``evaluate`` takes them.
    """

    protocol: str
    real: Path
    weights: str | list[str] | None = None

    @cached_property
    def rules(self) -> Protocol:
        """The protocol.

        Raises:
            ConfigurationError: it cannot be read, or lacks a metric that a sweep draws.
        """
        rules = checked_protocol(self.protocol)
        needed = [DRAWN[key] for key in REQUIRED]
        for metric in needed:
            if not any(settings.metric == metric for settings in rules.metrics):
                raise ConfigurationError(
                    f"expected a protocol with {' and '.join(needed)}, which a sweep draws, got {rules.source} "
                    f"with {', '.join(settings.name for settings in rules.metrics)}"
                )
        return rules

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """See :attr:`consistency_tta.evaluation.sweep.options.EvaluatorOptions.conditions`."""
        networks = make_networks(self.rules, weights_by_name(self.weights))
        first = {
            key: next((settings.network for settings in self.rules.metrics if settings.metric == metric), None)
            for key, metric in DRAWN.items()
        }
        settings, files = protocol_settings(self.rules), recordings(self.real, least=2)
        return {
            "protocol": {
                "name": self.rules.name,
                "version": self.rules.version,
                "sha256": self.rules.sha256,
                "settings": settings,
            },
            "sounds": settings["Sounds"],
            "resampler": self.rules.audio.resampler,
            "networks": {
                name: {"sha256": network.checksum, "sample_rate": network.sample_rate}
                for name, network in networks.items()
            },
            **first,
            "reference": {"place": str(self.real), "recordings": len(files), "sha256": checksum(*files)},
        }

    def check(self, captions: Path) -> None:
        """See :meth:`consistency_tta.evaluation.sweep.options.EvaluatorOptions.check`."""
        _ = self.conditions
        there = find_pairs(self.rules, self.real, self.real, caption_file(captions))
        faults, good = [*map(str, there.left_out)], 0
        for pair in there.pairs:  # an evaluation leaves bad ones out
            try:
                read_recording(pair.reference)
            except ValueError as error:
                faults.append(str(error))
            else:
                good += 1
            if good == 2:
                return
        raise DataError(
            f"expected at least 2 clips of {self.rules.name} in {captions} with a recording in {self.real}, got "
            f"{good}. {'; '.join(faults[:3])}"
        )

    def score(self, folder: Folder, captions: Path, device: torch.device) -> dict[str, Any]:
        """See :meth:`consistency_tta.evaluation.sweep.options.EvaluatorOptions.score`; writes the report, too."""
        cache, weights = folder.path.parents[1] / CACHE, weights_by_name(self.weights)
        result, _ = evaluate_folder(folder.path, self.real, self.rules, cache, captions, weights, device=str(device))
        write(result, folder.path / REPORT)
        networks = {key: self.conditions[key] for key in DRAWN}
        names = {key: network and f"{DRAWN[key]}/{network}" for key, network in networks.items()}
        try:
            values = drawn_values(names, result.metric_values)
        except DataError as error:
            raise DataError(f"{folder.path}: {error}; {'; '.join(result.warnings)}") from None
        each = torch.tensor(result.per_clip[f"{DRAWN['clap']}/{networks['clap']}"], dtype=torch.float64)
        return {
            **values,
            "clap_error": float(each.std() / len(each) ** 0.5),
            "metric_values": result.to_dict()["metric_values"],
            "clips": used(result),
            "networks": [asdict(network) for network in result.networks],
            "warnings": result.warnings,
        }
