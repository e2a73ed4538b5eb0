"""Recordings made by code, in the layout of ESC-50's and AudioCaps' folders."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile


def write_recordings(folder: Path) -> Path:
    """Eight noisy clips of a second with captions: four in train.csv, four in val.csv."""
    (folder / "audio").mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, number in {"train": 4, "val": 4}.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["audiocap_id", "youtube_id", "start_time", "caption"])
            for index in range(number):
                writer.writerow([index, f"{split}{index}", 0, f"Noise number {index}"])
                sound = 0.1 * random.standard_normal(16000)
                soundfile.write(folder / "audio" / f"{split}{index}.wav", sound, 16000)
    return folder
