"""The ten classes of ESC-10, their labels in AudioSet, and their clips in folders."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from consistency_tta.runtime.errors import DataError
from tools.esc10_captions import is_esc50, recordings

#: The ten classes, and AudioSet's names for the sounds in them.
AUDIOSET_NAMES = {
    "dog": ("Dog", "Bark"),
    "rooster": ("Chicken, rooster", "Crowing, cock-a-doodle-doo"),
    "rain": ("Rain", "Raindrop", "Rain on surface"),
    "sea_waves": ("Ocean", "Waves, surf"),
    "crackling_fire": ("Fire", "Crackle"),
    "crying_baby": ("Baby cry, infant cry", "Crying, sobbing"),
    "sneezing": ("Sneeze",),
    "clock_tick": ("Tick-tock", "Tick", "Clock"),
    "helicopter": ("Helicopter",),
    "chainsaw": ("Chainsaw",),
}
CLASSES = list(AUDIOSET_NAMES)
AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".mp3"}


class Clip(NamedTuple):
    """A sound file and which of the ten classes it should be."""

    file: Path
    label: str


def clips_of_folder(folder: Path) -> list[Clip]:
    """The sound files of a folder with ``<class>/*.wav`` or ``<class>__*.wav``."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
    clips = [Clip(file, file.name.split("__")[0] if "__" in file.name else file.parent.name) for file in files]
    unknown = sorted({clip.label for clip in clips} - set(CLASSES))
    if unknown or not clips:
        raise DataError(
            f"expected sound files <class>/*.wav or <class>__NN.wav in {folder}, of the classes {', '.join(CLASSES)}; "
            + (f"got the classes {', '.join(unknown)}" if unknown else "got no sound files")
        )
    return clips


def clips_of_folds(esc50: Path, folds: str) -> list[Clip]:
    """The clips of the ten classes in the given folds (as "1234") of ESC-50."""
    clips = [Clip(clip.file, clip.label) for clip in recordings(esc50) if clip.fold in folds]
    if not clips:
        raise DataError(f"expected clips of ESC-10 in folds {', '.join(folds)} of {esc50}, got none")
    return clips


def real_clips(real: Path) -> list[Clip]:
    """The reference: folds 1-4 of ESC-50, or the clips of a folder."""
    return clips_of_folds(real, folds="1234") if is_esc50(real) else clips_of_folder(real)


def class_columns(labels: Path) -> list[list[int]]:
    """The positions of each class's AudioSet labels among the tagger's logits."""
    with labels.open(newline="", encoding="utf-8") as lines:
        index = {row["display_name"]: int(row["index"]) for row in csv.DictReader(lines)}
    if missing := [name for names in AUDIOSET_NAMES.values() for name in names if name not in index]:
        raise DataError(f"expected AudioSet's 527 display names in {labels}, missing {', '.join(missing)}")
    return [[index[name] for name in names] for names in AUDIOSET_NAMES.values()]
