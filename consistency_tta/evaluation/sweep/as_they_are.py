"""Sounds judged as they are, by no protocol: a CLAP score, and the Fréchet distance to recordings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from consistency_tta.audio.recordings import read_recording, recordings
from consistency_tta.components.reward_lineage import EncoderFingerprint, RewardLineage
from consistency_tta.evaluation.comparison import RealClips
from consistency_tta.evaluation.result import Judge as Network
from consistency_tta.evaluation.sweep.judge import Judge
from consistency_tta.generation.folder import Folder, read_manifest
from consistency_tta.metrics.mn04 import AudioTagger

#: Waveforms (B, samples) and their rate in Hz to vectors (B, D).
Embed = Callable[[Tensor, int], Tensor]


class AsTheyAre:
    """Scores of folders.

    Args:
        judge: who has no protocol.
        device: of its networks.
    """

    def __init__(self, judge: Judge, device: torch.device) -> None:
        self.judge = judge
        self.device = device
        self.clap = judge.hearer.to(device)
        self.tagger = AudioTagger.from_checkpoint(judge.tagger).to(device) if judge.tagger else None
        if judge.real is None:
            self.real = RealClips.load(judge.clap)
        else:
            self.real = RealClips.of(embeddings(tqdm(recordings(judge.real), desc="recordings"), self._for_distance))

    def score(self, folder: Folder) -> dict[str, Any]:
        """The figures of a folder whose sounds are all there, who found them and what must be known of them."""
        vectors = embeddings(folder.files, self._by_clap)
        cosines = (vectors * self.clap.embed_text([sound.caption for sound in folder.sounds]).cpu()).sum(1)
        heard = vectors if self.tagger is None else embeddings(folder.files, self._for_distance)
        rewards = RewardLineage.from_dict((read_manifest(folder.path) or {}).get("rewards"))
        networks = [
            Network(name, facts["sha256"], False, rewards.include(self._identity(name, facts["sha256"])))
            for name, facts in self.judge.facts["networks"].items()
        ]
        titles = {"clap": "CLAP scores", "frechet": "Fréchet distances"}
        figures = {
            network.name: " and ".join(title for key, title in titles.items() if self.judge.facts[key] == network.name)
            for network in networks
        }
        return {
            "clap": float(cosines.mean()),
            "clap_error": float(cosines.std() / len(cosines) ** 0.5),
            "frechet": self.real.distance(heard),
            "networks": [asdict(network) for network in networks],
            "warnings": [network.pleased(figures[network.name]) for network in networks if network.is_reward],
        }

    def _identity(self, name: str, checksum: str) -> EncoderFingerprint:
        """What a network is known by among rewards; a tagger is none."""
        return EncoderFingerprint.of(self.clap) if name == self.judge.clap else EncoderFingerprint(checksum, ())

    def _by_clap(self, waveform: Tensor, rate: int) -> Tensor:
        return self.clap.embed(waveform.to(self.device), rate).cpu()

    def _for_distance(self, waveform: Tensor, rate: int) -> Tensor:
        if self.tagger is None:
            return self._by_clap(waveform, rate)
        return self.tagger(waveform.to(self.device), rate)[1].cpu()


def embeddings(files: Sequence[Path], embed: Embed, batch_size: int = 8) -> Tensor:
    """Vectors (files, D), of neighbours with equal length and rate in batches."""
    vectors = []
    sounds = map(read_recording, files)
    for (_, rate), run in itertools.groupby(sounds, key=lambda sound: (len(sound.waveform), sound.sample_rate)):
        while batch := [sound.waveform for sound in itertools.islice(run, batch_size)]:
            vectors.append(embed(torch.stack(batch), rate))
    return torch.cat(vectors)
