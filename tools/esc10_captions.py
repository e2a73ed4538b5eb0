"""Writes AudioCaps-style captions for the ten CC BY classes of ESC-50 (ESC-10), as the tiny models were trained on.

    python tools/esc10_captions.py path/to/esc50 data/esc10

writes train.csv, val.csv (whole Freesound sources out of fold 4) and test.csv (fold 5), every clip with the five
paraphrases of its class.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def write_captions(esc50: Path, output: Path) -> dict[str, int]:
    """Write one CSV per split; returns how many clips each has."""
    with (esc50 / "captions_by_label.csv").open(newline="", encoding="utf-8") as file:
        captions = {row.pop("label"): list(row.values()) for row in csv.DictReader(file)}
    with (esc50 / "clips.csv").open(newline="", encoding="utf-8") as file:
        clips = [row for row in csv.DictReader(file) if row["esc10"] == "True"]
    output.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split in ("train", "val", "test"):
        chosen = [clip for clip in clips if clip["split"] == split]
        with (output / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["audiocap_id", "youtube_id", "start_time", "caption"])
            rows = [(clip["clip_id"], caption) for clip in chosen for caption in captions[clip["label"]]]
            writer.writerows((number, clip_id, 0, caption) for number, (clip_id, caption) in enumerate(rows, start=1))
        counts[split] = len(chosen)
    return counts


if __name__ == "__main__":
    print(write_captions(Path(sys.argv[1]), Path(sys.argv[2])))
