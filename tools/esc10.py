"""Judge sounds made for the ten classes of ESC-10: are they recognised, how near are they to real ones, do they vary?

    python -m tools.esc10 --weights mn04_as_mAP_432.pt --labels audioset527_labels.csv --real ESC50 --generated DIR

The tagger mn04_as hears every clip; a clip is right where, of the ten classes, its own is the most probable (a class is
as probable as the most probable of its AudioSet labels below). Fréchet distance and diversity are taken in the tagger's
embedding space. Without ``--generated`` the table is that of the real clips of fold 5, what a perfect model would
reach; with the weights above 383 of the 400 clips of all folds are right, give or take one for another resampler.

Generated clips lie in one sub-folder per class or are named ``<class>__NN.wav``. Real clips are such a folder too, or
that of ESC-50, of which folds 1-4 are the reference.

Compare Fréchet distances of equally many clips only; 80 (8 per class) match fold 5. Clips with the real clips' sample
rate and length compare most fairly: an empty band or a silent end is heard, too.

Source: Karol J. Piczak, "ESC: Dataset for Environmental Sound Classification", 2015,
https://doi.org/10.1145/2733373.2806390; for the tagger see :mod:`consistency_tta.metrics.mn04`.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import warnings
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
import torch
from torch import Tensor

from consistency_tta.metrics.diversity import mean_pairwise_distance
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.metrics.mn04 import EMBEDDING_DIM, AudioTagger
from tools.esc10_captions import is_esc50, recordings

#: The ten classes, and the names AudioSet has for what is heard in them.
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


class Heard(NamedTuple):
    """What the tagger hears in N clips: labels, class scores (N, 10) in the order of CLASSES, embeddings (N, 384)."""

    labels: list[str]
    scores: Tensor
    embeddings: Tensor

    def right(self) -> Counter[str]:
        """How many clips of each class are recognised."""
        best = [CLASSES[column] for column in self.scores.argmax(1).tolist()]
        return Counter(label for label, heard in zip(self.labels, best, strict=True) if heard == label)


def clips_of_folder(folder: Path) -> list[Clip]:
    """The sound files of a folder with ``<class>/*.wav`` or ``<class>__*.wav``."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
    clips = [Clip(file, file.name.split("__")[0] if "__" in file.name else file.parent.name) for file in files]
    unknown = sorted({clip.label for clip in clips} - set(CLASSES))
    if unknown or not clips:
        raise ValueError(
            f"expected sound files <class>/*.wav or <class>__NN.wav in {folder}, of the classes {', '.join(CLASSES)}; "
            + (f"got the classes {', '.join(unknown)}" if unknown else "got no sound files")
        )
    return clips


def clips_of_folds(esc50: Path, folds: str) -> list[Clip]:
    """The clips of the ten classes in the given folds (as "1234") of the folder of ESC-50."""
    clips = [Clip(clip.file, clip.label) for clip in recordings(esc50) if clip.fold in folds]
    if not clips:
        raise ValueError(f"expected clips of ESC-10 in folds {', '.join(folds)} of {esc50}, got none")
    return clips


def _real_clips(real: Path) -> list[Clip]:
    return clips_of_folds(real, folds="1234") if is_esc50(real) else clips_of_folder(real)


def _class_columns(labels: Path) -> list[list[int]]:
    with labels.open(newline="", encoding="utf-8") as lines:
        index = {row["display_name"]: int(row["index"]) for row in csv.DictReader(lines)}
    if missing := [name for names in AUDIOSET_NAMES.values() for name in names if name not in index]:
        raise ValueError(f"expected AudioSet's 527 display names in {labels}, missing {', '.join(missing)}")
    return [[index[name] for name in names] for names in AUDIOSET_NAMES.values()]


def hear(clips: list[Clip], tagger: AudioTagger, columns: list[list[int]], batch_size: int = 16) -> Heard:
    """Have the tagger hear all clips, in batches of neighbours with equal length and sample rate.

    Args:
        clips: N clips.
        tagger: in evaluation mode, on any device.
        columns: for each of the ten classes, the logits that speak for it.
        batch_size: clips heard at once.
    """
    device = next(tagger.parameters()).device
    scores, embeddings = [], []

    def read(clip: Clip) -> tuple[Tensor, int]:
        samples, sample_rate = soundfile.read(clip.file, dtype="float32", always_2d=True)
        return torch.from_numpy(samples).mean(1), sample_rate

    # Read as the batches are formed, so that memory holds one run of equal clips at most.
    for (_, sample_rate), run in itertools.groupby(map(read, clips), key=lambda heard: (len(heard[0]), heard[1])):
        while batch := list(itertools.islice(run, batch_size)):
            waveform = torch.stack([samples for samples, _ in batch]).to(device)
            with torch.inference_mode():
                logits, embedding = tagger(waveform, sample_rate)
            scores.append(torch.stack([logits[:, column].amax(1) for column in columns], dim=1).cpu())
            embeddings.append(embedding.cpu())
    return Heard([clip.label for clip in clips], torch.cat(scores), torch.cat(embeddings))


def judge(generated: Heard, real: Heard) -> dict[str, Any]:
    """The figures of the generated clips.

    Returns:
        ``clips`` and ``real_clips`` (counts), ``accuracy`` and ``real_accuracy`` in [0, 1], ``frechet_distance``,
        ``diversity`` (mean over the classes with two clips or more; NaN where there are none), and per class
        ``clips_by_class``, ``accuracy_by_class``, ``diversity_by_class``.
    """
    right, total = generated.right(), Counter(generated.labels)
    diversity = {
        label: mean_pairwise_distance(generated.embeddings[[own == label for own in generated.labels]]).item()
        for label in CLASSES
        if total[label] > 1
    }
    frechet = FrechetDistance(EMBEDDING_DIM)
    frechet.update(real.embeddings, real=True)
    frechet.update(generated.embeddings, real=False)
    with warnings.catch_warnings():
        # ESC-10 has fewer clips than the embedding has dimensions; the module docstring says how to compare.
        warnings.filterwarnings("ignore", message=".*biased upwards")
        distance = frechet.compute().item()
    return {
        "clips": total.total(),
        "real_clips": len(real.labels),
        "accuracy": right.total() / total.total(),
        "real_accuracy": real.right().total() / len(real.labels),
        "frechet_distance": distance,
        "diversity": sum(diversity.values()) / len(diversity) if diversity else float("nan"),
        "clips_by_class": {label: total[label] for label in CLASSES if total[label]},
        "accuracy_by_class": {label: right[label] / total[label] for label in CLASSES if total[label]},
        "diversity_by_class": diversity,
    }


@lru_cache(maxsize=2)
def _tagger_and_reference(weights: Path, labels: Path, real: Path) -> tuple[AudioTagger, list[list[int]], Heard]:
    tagger, columns = AudioTagger.from_checkpoint(weights), _class_columns(labels)
    return tagger, columns, hear(_real_clips(real), tagger, columns)


def evaluate_folder(generated: str | Path, weights: str | Path, labels: str | Path, real: str | Path) -> dict[str, Any]:
    """Judge a folder of generated clips. The real clips are heard at the first call and remembered.

    Args:
        generated: folder of generated clips.
        weights: EfficientAT's ``mn04_as_mAP_432.pt``.
        labels: table of the 527 AudioSet classes with the columns index and display_name.
        real: folder of real clips, or that of ESC-50, the reference.

    Returns:
        What :func:`judge` returns.
    """
    tagger, columns, reference = _tagger_and_reference(Path(weights), Path(labels), Path(real))
    return judge(hear(clips_of_folder(Path(generated)), tagger, columns), reference)


def evaluate_real(weights: str | Path, labels: str | Path, real: str | Path) -> dict[str, Any]:
    """Judge the real clips of fold 5 against folds 1-4, as :func:`evaluate_folder`; ``real`` is ESC-50."""
    tagger, columns, reference = _tagger_and_reference(Path(weights), Path(labels), Path(real))
    return judge(hear(clips_of_folds(Path(real), folds="5"), tagger, columns), reference)


def report(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [f"{'class':16}{'clips':>6}{'accuracy':>10}{'diversity':>11}"]
    for label, accuracy in figures["accuracy_by_class"].items():
        diversity = figures["diversity_by_class"].get(label, float("nan"))
        lines.append(f"{label:16}{figures['clips_by_class'][label]:6}{accuracy:10.1%}{diversity:11.2f}")
    lines.append(f"{'all':16}{figures['clips']:6}{figures['accuracy']:10.1%}{figures['diversity']:11.2f}")
    lines.append(
        f"Fréchet distance {figures['frechet_distance']:.2f} to {figures['real_clips']} real clips "
        f"({figures['real_accuracy'] * figures['real_clips']:.0f} of them recognised)"
    )
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Judge sounds made for the ten classes of ESC-10.")
    parser.add_argument("--weights", type=Path, required=True, help="EfficientAT's mn04_as_mAP_432.pt")
    parser.add_argument("--labels", type=Path, required=True, help="AudioSet's classes: index, display_name")
    parser.add_argument("--real", type=Path, required=True, help="real clips: a folder, or that of ESC-50")
    parser.add_argument("--generated", type=Path, help="generated clips; without it fold 5 of --real is judged")
    options = parser.parse_args(args)
    if options.generated is not None:
        figures = evaluate_folder(options.generated, options.weights, options.labels, options.real)
    elif not is_esc50(options.real):
        parser.error(f"--generated is needed where --real is not ESC-50: {options.real} does not tell fold 5")
    else:
        figures = evaluate_real(options.weights, options.labels, options.real)
    print(report(figures))


if __name__ == "__main__":
    main()
