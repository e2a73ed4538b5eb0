"""Small listening tests, made of noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from consistency_tta.listening import make
from consistency_tta.listening.key import Key

SYSTEMS = ("zebrafish", "yardstick", "xylophone")


def noise_folders(folder: Path, clips: int = 3, rate: int = 16000, seconds: float = 0.45) -> list[str]:
    """A folder of noise for each of :data:`SYSTEMS`, as ``name=folder``, and ``captions.csv``."""
    random = np.random.default_rng(0)
    rows = ["id,caption"]
    rows += [f"{7100 + clip},Sound number {clip}" for clip in range(clips)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "captions.csv").write_text("\n".join(rows))
    for system in SYSTEMS:
        (folder / system).mkdir()
        for clip in range(clips):
            samples = random.normal(0, 0.05, round(seconds * rate))
            soundfile.write(folder / system / f"{7100 + clip}.wav", samples, rate)
    return [f"{system}={folder / system}" for system in SYSTEMS]


def made(folder: Path, **settings: Any) -> tuple[Path, Key]:
    """The folder of a test of three clips, and its key."""
    systems = noise_folders(folder)
    make(systems, folder / "captions.csv", folder / "test", num_clips=3, **settings)
    return folder / "test", Key.load(folder / "test")


def answers(key: Key, rater: str = "Ann", **scores: Any) -> dict[str, Any]:
    """Complete answers; the scores are numbers, or functions of an item."""
    wanted = {scale.name: scores.get(scale.name, scale.high) for scale in key.scales}
    items = {
        name: {"scores": {scale: s(item) if callable(s) else s for scale, s in wanted.items()}, "plays": 1}
        for name, item in key.items.items()
    }
    return {"test": key.test, "rater": rater, "token": "t" * 32, "saved": "2026-01-02T03:04:05.000Z", "items": items}


def write(folder: Path, *several: dict[str, Any]) -> None:
    """Put answers where ``analyse`` looks for them."""
    (folder / "answers").mkdir(exist_ok=True)
    for number, one in enumerate(several):
        (folder / "answers" / f"answers-{number}.json").write_text(json.dumps(one))
