"""A protocol of six short clips, folders of sounds that fit it, and a network that counts the sounds that it embeds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import yaml
from torch import Tensor

from consistency_tta.contracts import AudioEmbedding, AudioEncoder
from consistency_tta.evaluation.protocol import RESAMPLER

RATE = 8000
SECONDS = 0.25
CHECKSUM = "0" * 64


class ToyNetwork(AudioEncoder):
    """The energy in four bands (B, 1, 4), as logits, too."""

    name = "toy"
    sample_rate = RATE
    num_features = 4
    checksum = CHECKSUM

    def __init__(self) -> None:
        super().__init__()
        self.embedded = 0

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        assert sample_rate == RATE
        return torch.fft.rfft(waveform).abs()[:, 1:1001].unflatten(1, (4, 250)).mean(2)

    def embed_windows(self, waveform: Tensor, sample_rate: int) -> AudioEmbedding:
        self.embedded += len(waveform)
        power = self.embed(waveform, sample_rate)
        return AudioEmbedding(power[:, None], power)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        letters = torch.tensor([[caption.count(letter) + 1.0 for letter in "aeio"] for caption in captions])
        return torch.nn.functional.normalize(letters)


def settings(**changes: Any) -> dict[str, Any]:
    """A protocol's content."""
    return {
        "name": "toy",
        "version": 3,
        "description": "Six noises.",
        "clips": {"number": 6, "file": "toy.csv"},
        "audio": {"sample_rate": RATE, "resampler": RESAMPLER, "seconds": SECONDS},
        "networks": {"toy": {"sha256": CHECKSUM}},
        "metrics": [
            {"metric": "clap_score", "network": "toy"},
            {"metric": "distance", "network": "toy"},
            {"metric": "frechet", "network": "toy"},
        ],
        "bootstrap": {"resamples": 50, "set_resamples": 5},
    } | changes


def write_protocol(folder: Path, **changes: Any) -> Path:
    """A protocol's file, with its list beside it."""
    content = settings(**changes)
    rows = [f"{k},clip{k},0,Noise {'aeiou'[k % 5]} number {k}\n" for k in range(6)]
    folder.mkdir(parents=True, exist_ok=True)
    listed = "audiocap_id,youtube_id,start_time,caption\n" + "".join(rows)
    (folder / "toy.csv").write_text(listed)
    if content["clips"].get("file"):
        content["clips"] = {"sha256": hashlib.sha256(listed.encode()).hexdigest()} | content["clips"]
    file = folder / "toy.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def noise(seed: int, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """(samples, channels)."""
    return 0.1 * np.random.default_rng(seed).standard_normal((round(SECONDS * rate), channels))


def write_sounds(folder: Path, seed: int = 0) -> Path:
    """clip0.wav to clip5.wav, each another noise."""
    folder.mkdir(parents=True)
    for k in range(6):
        soundfile.write(folder / f"clip{k}.wav", noise(100 * seed + k), RATE)
    return folder
