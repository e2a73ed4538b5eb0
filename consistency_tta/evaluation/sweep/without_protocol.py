"""Scores of a sweep without a protocol: CLAP score, Fréchet distance and diversity of whole sounds, as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from consistency_tta.audio.recordings import SoundFiles, check_recordings, recordings
from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.contracts import AudioEncoder
from consistency_tta.evaluation.evaluator import Evaluator
from consistency_tta.evaluation.networks import fingerprint
from consistency_tta.evaluation.protocol import RESAMPLER, BootstrapSettings, MetricSettings
from consistency_tta.evaluation.reference_statistics import REAL_CLIPS, ReferenceStatistics
from consistency_tta.evaluation.result import EmbeddingNetwork
from consistency_tta.evaluation.sweep.intervals import drawn_values
from consistency_tta.generation.folder import Folder, read_manifest
from consistency_tta.metrics.encoders.mn04 import Mn04
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.bundled import TRANSFORMERS, resolve
from consistency_tta.storage.checksum import checksum

#: Draws for the intervals of values of a set, each of half of the sounds, and of a mean.
BOOTSTRAP = BootstrapSettings(resamples=1000, set_resamples=50)


@dataclass(frozen=True)
class WithoutProtocol:
    """Computes scores of sounds as they are.

    Args:
        clap, real, tagger: see :class:`consistency_tta.evaluation.sweep.options.EvaluatorOptions`.
    """

    clap: str
    real: Path | None
    tagger: Path | None

    @property
    def frechet_network(self) -> str:
        """The name of the network of the Fréchet distance."""
        if self.tagger is None:
            return self.clap
        return str(self.tagger) if self.tagger.stem == self.clap else self.tagger.stem

    @cached_property
    def clap_encoder(self) -> TransformersClap:
        """The CLAP."""
        return TransformersClap(resolve(self.clap, TRANSFORMERS))

    @cached_property
    def networks(self) -> dict[str, AudioEncoder]:
        """By name: the CLAP, and the tagger if there is one."""
        networks: dict[str, AudioEncoder] = {self.clap: self.clap_encoder}
        if self.tagger is not None:
            networks[self.frechet_network] = Mn04(self.tagger)
        return networks

    @cached_property
    def evaluator(self) -> Evaluator:
        """Of the three metrics, with confidence intervals."""
        metrics = [MetricSettings("clap_score", self.clap)]
        metrics += [MetricSettings(name, self.frechet_network) for name in ("frechet", "diversity")]
        return Evaluator(metrics, self.networks, BOOTSTRAP)

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """See :attr:`consistency_tta.evaluation.sweep.options.EvaluatorOptions.conditions`."""
        networks: dict[str, dict[str, Any]] = {
            self.clap: {"sha256": self.clap_encoder.checksum, "sample_rate": self.clap_encoder.sample_rate}
        }
        if (folder := Path(resolve(self.clap, TRANSFORMERS))).is_dir():  # its tokenizer and front end count, too
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            networks[self.clap]["files_sha256"] = checksum(*files)
        if self.tagger is not None:
            networks[self.frechet_network] = {"sha256": checksum(self.tagger), "sample_rate": Mn04.sample_rate}
        return {
            "protocol": None,
            "sounds": (
                f"mono, whole, as loud as they are, mean kept, resampled once ({RESAMPLER}), to the network's rate"
            ),
            "resampler": RESAMPLER,
            "networks": networks,
            "clap": self.clap,
            "frechet": self.frechet_network,
            "diversity": self.frechet_network,
            "reference": self._describe_reference(),
        }

    def check(self, captions: Path) -> None:
        """See :meth:`consistency_tta.evaluation.sweep.options.EvaluatorOptions.check`."""
        if self.tagger is not None and self.real is None:
            raise ConfigurationError("expected evaluator.real, a folder of recordings, with evaluator.tagger, got none")
        if self.tagger is not None and not self.tagger.is_file():
            raise FileNotFoundError(f"expected the tagger's weights, but {self.tagger} does not exist")
        if self.real is not None:
            shortest = 0 if self.tagger is None else Mn04.min_samples / Mn04.sample_rate
            check_recordings(self.real, least=2, min_seconds=shortest)
        _ = self.conditions  # loads the networks, and the statistics where there are no recordings

    def score(self, folder: Folder, captions: Path, device: torch.device) -> dict[str, Any]:
        """See :meth:`consistency_tta.evaluation.sweep.options.EvaluatorOptions.score`."""
        names = dict(zip(("clap", "frechet", "diversity"), (one.name for one in self.evaluator.metrics), strict=True))
        texts = [sound.caption for sound in folder.sounds]
        table = self.evaluator.to(device).evaluate_sounds(SoundFiles(folder.files), texts, self._references)
        each = table.per_clip[names["clap"]]
        rewards = RewardLineage.from_dict((read_manifest(folder.path) or {}).get("rewards"))
        networks = [
            EmbeddingNetwork(name, str(network.checksum), False, rewards.include(fingerprint(network)))
            for name, network in self.networks.items()
        ]
        return {
            **drawn_values(names, table.values),
            "clap_error": float(each.std() / len(each) ** 0.5),
            "networks": [asdict(network) for network in networks],
            "warnings": [
                network.reward_warning(self._metrics_of(network.name)) for network in networks if network.is_reward
            ],
        }

    @cached_property
    def _references(self) -> Mapping[str, ReferenceStatistics]:
        """Of the Fréchet distance's network, and the CLAP, whose reference no metric looks at."""
        if self.real is None:
            statistics = ReferenceStatistics.load(self.clap)
        else:
            sounds = tqdm(SoundFiles(recordings(self.real)), desc="recordings")
            embedding = self.evaluator.embed(self.frechet_network, sounds)
            statistics = ReferenceStatistics.of(embedding.vectors.flatten(0, 1))
        return dict.fromkeys(self.networks, statistics)

    def _metrics_of(self, network: str) -> str:
        titles = {self.clap: ["CLAP score"]}
        titles.setdefault(self.frechet_network, []).extend(["Fréchet distance", "diversity"])
        *first, last = titles[network]
        return f"{', '.join(first)} and {last}" if first else last

    def _describe_reference(self) -> dict[str, Any]:
        """Where the recordings are, how many, and the SHA-256 of their contents, or of the statistics of them."""
        if self.real is not None:
            files = recordings(self.real, least=2)
            return {"place": str(self.real), "recordings": len(files), "sha256": checksum(*files)}
        file = Path(resolve(self.clap, TRANSFORMERS)) / REAL_CLIPS
        count = ReferenceStatistics.load(self.clap).count
        return {"place": f"the statistics in {self.clap}", "recordings": count, "sha256": checksum(file)}
