"""Sounds judged by a protocol: a point's figures are those that ``consistency-tta evaluate`` finds of its folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from consistency_tta.audio.recordings import read_recording
from consistency_tta.evaluation.clips import find_pairs
from consistency_tta.evaluation.evaluate import evaluate, places_of, rehearsed
from consistency_tta.evaluation.markdown import protocol_settings, used
from consistency_tta.evaluation.networks import make_networks
from consistency_tta.evaluation.protocol import Protocol
from consistency_tta.generation.folder import Folder
from consistency_tta.storage.captions import caption_file

#: Beside the sounds of a point, what ``evaluate`` writes; beside the models' folders, what networks heard.
REPORT, HEARD = "report", "heard"
#: The metrics that are drawn, the first of each in the protocol.
DRAWN = {"clap": "clap_score", "frechet": "frechet"}


@dataclass(frozen=True)
class ByProtocol:
    """A judge that has a protocol.

    Args:
        protocol: name of one that comes with the package, or a YAML file.
        real: folder of the recordings, named as the clips.
        weights: where networks' weights are, as ``evaluate`` takes them.
    """

    protocol: str
    real: Path
    weights: str | list[str] | None = None

    @cached_property
    def rules(self) -> Protocol:
        """The protocol.

        Raises:
            ValueError: it is none, or has not the figures that a sweep draws.
        """
        rules = rehearsed(self.protocol)
        for metric in DRAWN.values():
            if not any(settings.metric == metric for settings in rules.metrics):
                raise ValueError(
                    f"expected a protocol with {' and '.join(DRAWN.values())}, which a sweep draws, got {rules.source} "
                    f"with {', '.join(settings.name for settings in rules.metrics)}"
                )
        return rules

    @cached_property
    def facts(self) -> dict[str, Any]:
        """See :attr:`~consistency_tta.evaluation.sweep.judge.Judge.facts`; of the networks that are there."""
        networks = make_networks(self.rules, places_of(self.weights))
        first = {
            key: next(settings.network for settings in self.rules.metrics if settings.metric == metric)
            for key, metric in DRAWN.items()
        }
        settings = protocol_settings(self.rules)
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
        }

    def check(self, captions: Path) -> None:
        """See that all is there, before hours of generation.

        Args:
            captions: of the sounds that are to be made.

        Raises:
            FileNotFoundError: protocol, recordings or weights are not there.
            ValueError: weights are others than the protocol's, or fewer than two clips have captions and recordings.
        """
        _ = self.facts
        there = find_pairs(self.rules, self.real, self.real, caption_file(captions))
        faults, good = [*map(str, there.left_out)], 0
        for pair in there.pairs:  # `evaluate` leaves bad ones out
            try:
                read_recording(pair.reference)
            except ValueError as error:
                faults.append(str(error))
            else:
                good += 1
            if good == 2:
                return
        raise ValueError(
            f"expected at least 2 clips of {self.rules.name} in {captions} with a recording in {self.real}, got "
            f"{good}. {'; '.join(faults[:3])}"
        )

    def score(self, folder: Folder, captions: Path, device: torch.device) -> dict[str, Any]:
        """The figures of a folder, who found them and what must be known of them, as JSON takes it.

        Args:
            folder: whose sounds are all there. It gets the whole report, too.
            captions: the file that they were made for.
            device: of the networks.
        """
        result = evaluate(
            generated=folder.path,
            reference=self.real,
            protocol=self.protocol,
            captions=captions,
            output=folder.path / REPORT,
            weights=self.weights,
            cache=folder.path.parents[1] / HEARD,
            device=str(device),
        )
        names = {key: f"{metric}/{self.facts[key]}" for key, metric in DRAWN.items()}
        values = {figure.name: figure.value for figure in result.figures}
        if lost := [name for name in names.values() if name not in values]:
            raise ValueError(f"expected {', '.join(lost)} of {folder.path}, got none: {'; '.join(result.warnings)}")
        each = torch.tensor(result.per_clip[names["clap"]], dtype=torch.float64)
        return {
            **{key: values[name] for key, name in names.items()},
            "clap_error": float(each.std() / len(each) ** 0.5),
            "figures": result.to_dict()["figures"],
            "used": used(result),
            "networks": [asdict(judge) for judge in result.judges],
            "warnings": result.warnings,
        }
