"""Writes AudioCaps-style captions for the ten CC BY classes of ESC-50 (ESC-10), as the tiny models were trained on.

    python tools/esc10_captions.py path/to/esc50 data/esc10

writes train.csv, val.csv (whole Freesound sources out of fold 4) and test.csv (fold 5), every clip with the five
paraphrases of its class, which `lightning_configs/tiny/esc10_captions.txt` has. The folder is that of
https://github.com/karolpiczak/ESC-50, or one with a table clips.csv (clip_id, file, label, fold, freesound_id, esc10).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import NamedTuple

from consistency_tta.storage.text import filled_lines, read_text

CAPTIONS = Path(__file__).parents[1] / "lightning_configs" / "tiny" / "esc10_captions.txt"
#: In the order of the captions, five for each.
LABELS = (
    *("dog", "rooster", "crying_baby", "sneezing", "rain"),
    *("sea_waves", "crackling_fire", "clock_tick", "helicopter", "chainsaw"),
)
#: Freesound ids of the 22 clips of fold 4 that are held out in training.
VALIDATION_SOURCES = {
    *("149294", "156843", "161579", "164021", "164661", "166661", "167077", "167642"),
    *("181286", "181865", "182613", "183992", "194711", "204618", "207124", "208021"),
}

#: Tables of ESC-50: where they are, what their files are relative to, and what they call file, class and source.
TABLES = (
    ("clips.csv", "", ("file", "label", "freesound_id")),
    ("meta/esc50.csv", "audio", ("filename", "category", "src_file")),
)


class Recording(NamedTuple):
    """A clip of ESC-50, and whether it is one of ESC-10's."""

    clip_id: str
    file: Path
    label: str
    fold: str
    source: str
    esc10: bool = True

    @property
    def split(self) -> str:
        """``train``, ``val`` or ``test``."""
        return "test" if self.fold == "5" else "val" if self.source in VALIDATION_SOURCES else "train"


def is_esc50(folder: Path) -> bool:
    """Whether a folder has a table of ESC-50."""
    return any((folder / table).is_file() for table, _, _ in TABLES)


def recordings(esc50: Path, all_classes: bool = False) -> list[Recording]:
    """The clips of ESC-10, or of ESC-50, in the order of the table that the folder has of them."""
    for table, folder, (file, label, source) in TABLES:
        if (esc50 / table).is_file():
            with (esc50 / table).open(newline="", encoding="utf-8") as lines:
                rows = list(csv.DictReader(lines))
            clips = [
                Recording(
                    Path(row[file]).stem,
                    esc50 / folder / row[file],
                    row[label],
                    row["fold"],
                    row[source],
                    row["esc10"] == "True",
                )
                for row in rows
            ]
            return [clip for clip in clips if all_classes or clip.esc10]
    raise FileNotFoundError(f"expected ESC-50 in {esc50}, with meta/esc50.csv or clips.csv: neither is there")


def captions_by_label() -> dict[str, list[str]]:
    """The five captions of each class, written from its label; classes in alphabetical order."""
    lines = filled_lines(read_text(CAPTIONS))
    return {label: lines[5 * k : 5 * k + 5] for label, k in sorted(zip(LABELS, range(len(LABELS)), strict=True))}


def write_captions(esc50: Path, output: Path) -> dict[str, int]:
    """Write one CSV per split; returns how many clips each has."""
    clips, captions = recordings(esc50), captions_by_label()
    output.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split in ("train", "val", "test"):
        chosen = [clip for clip in clips if clip.split == split]
        with (output / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["audiocap_id", "youtube_id", "start_time", "caption"])
            rows = [(clip.clip_id, caption) for clip in chosen for caption in captions[clip.label]]
            writer.writerows((number, clip_id, 0, caption) for number, (clip_id, caption) in enumerate(rows, start=1))
        counts[split] = len(chosen)
    return counts


if __name__ == "__main__":
    try:
        print(write_captions(Path(sys.argv[1]), Path(sys.argv[2])))
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
