"""Evaluates sounds of the ten classes of ESC-10: are they recognised, how near are they to real ones, do they vary?

    python -m tools.esc10 --weights mn04_as_mAP_432.pt --labels audioset527_labels.csv --real ESC50 --generated DIR

A clip is recognised if, of the ten classes, the tagger mn04_as scores its own the highest; a class has the score of the
most probable of its AudioSet labels below. Fréchet distance and diversity compare the tagger's embeddings. Without
``--generated`` the table is that of the real clips of fold 5, which a perfect model would reach; with the weights above
383 of the 400 clips of all folds are recognised, give or take one for another resampler.

Another encoder than mn04 shows whether a result holds for a network by which nothing was chosen:

    python -m tools.esc10 --encoder tools.birdnet.BirdNet --weights BirdNET.tflite --real ESC50 --generated DIR

Without ``--labels`` the classes are scored by a linear probe on the embedding, fitted on the real clips (folds 1-4).

Generated clips lie in one sub-folder per class or are named ``<class>__NN.wav``. Real clips are such a folder too, or
that of ESC-50, of which folds 1-4 are the reference.

Compare Fréchet distances of equally many clips only; 80 (8 per class) match fold 5. Clips with the real clips' sample
rate and length compare most fairly: an empty band or a silent end changes an embedding, too.

Source: Karol J. Piczak, "ESC: Dataset for Environmental Sound Classification", 2015,
https://doi.org/10.1145/2733373.2806390; for the tagger see :mod:`consistency_tta.metrics.mn04`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from consistency_tta.audio.recordings import SoundFiles
from consistency_tta.contracts import AudioEncoder
from consistency_tta.evaluation.evaluator import Evaluator
from consistency_tta.evaluation.metric_values import MetricTable
from consistency_tta.evaluation.protocol import MetricSettings
from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.runtime.class_path import import_class
from tools.esc10_captions import is_esc50
from tools.esc10_classes import CLASSES, Clip, class_columns, clips_of_folder, clips_of_folds, real_clips
from tools.esc10_scores import ClassScores
from tools.probe_encoder import LinearProbe, ProbeEncoder

#: EfficientAT's tagger.
MN04 = "consistency_tta.metrics.encoders.mn04.Mn04"


class Esc10Evaluator:
    """Evaluates clips of the ten classes; the real clips are embedded once.

    Args:
        weights: of the encoder, such as EfficientAT's ``mn04_as_mAP_432.pt``.
        labels: table of the 527 AudioSet classes with the columns index and display_name, where the encoder has their
            logits; None for a linear probe that is fitted on the real clips.
        real: folder of real clips, or that of ESC-50, the reference.
        encoder: path of the encoder's class, which takes ``weights``.
    """

    def __init__(self, weights: Path, labels: Path | None, real: Path, encoder: str = MN04) -> None:
        network: AudioEncoder = import_class(encoder, AudioEncoder)(weights=weights)
        self.encoder = network.name
        self.clips = real_clips(real)
        sounds = SoundFiles([clip.file for clip in self.clips])
        embedding = Evaluator([], {self.encoder: network}, batch_size=16).embed(self.encoder, sounds)
        vectors = embedding.vectors.flatten(0, 1)
        self.reference = ReferenceStatistics.of(vectors)
        columns = [[index] for index in range(len(CLASSES))] if labels is None else class_columns(labels)
        if labels is None:
            classes = torch.tensor([CLASSES.index(clip.label) for clip in self.clips])
            network = ProbeEncoder(network, LinearProbe(vectors, classes, len(CLASSES)))
        scores = f"{ClassScores.__module__}.{ClassScores.__name__}"
        metrics = [
            MetricSettings(scores, self.encoder, {"columns": columns}),
            MetricSettings("frechet", self.encoder),
        ]
        self.evaluator = Evaluator(metrics, {self.encoder: network}, batch_size=16)
        self.real_accuracy = self.table(self.clips)[f"ClassScores/{self.encoder}/accuracy"]

    def table(self, clips: Sequence[Clip]) -> MetricTable:
        """The values of the metrics."""
        files, labels = SoundFiles([clip.file for clip in clips]), [clip.label for clip in clips]
        return self.evaluator.evaluate_sounds(files, labels, {self.encoder: self.reference})

    def evaluate(self, clips: Sequence[Clip]) -> dict[str, Any]:
        """The scores of clips.

        Returns:
            ``clips`` and ``real_clips`` (counts), ``accuracy`` and ``real_accuracy`` in [0, 1], ``frechet_distance``,
            ``diversity`` (mean over the classes with two clips or more; NaN where there are none), and per class
            ``clips_by_class``, ``accuracy_by_class``, ``diversity_by_class``.
        """
        table, counts = self.table(clips), Counter(clip.label for clip in clips)
        values = {found.name.removeprefix(f"ClassScores/{self.encoder}/"): found.value for found in table.values}

        def by_class(name: str) -> dict[str, float]:
            return {label: values[f"{name}/{label}"] for label in CLASSES if f"{name}/{label}" in values}

        return {
            "clips": len(clips),
            "real_clips": len(self.clips),
            "accuracy": values["accuracy"],
            "real_accuracy": self.real_accuracy,
            "frechet_distance": table[f"frechet/{self.encoder}"],
            "diversity": values["diversity"],
            "clips_by_class": {label: counts[label] for label in CLASSES if counts[label]},
            "accuracy_by_class": by_class("accuracy"),
            "diversity_by_class": by_class("diversity"),
        }


@lru_cache(maxsize=2)
def _evaluator(weights: Path, labels: Path | None, real: Path, encoder: str) -> Esc10Evaluator:
    return Esc10Evaluator(weights, labels, real, encoder)


def evaluate_folder(
    generated: str | Path, weights: str | Path, labels: str | Path | None, real: str | Path, encoder: str = MN04
) -> dict[str, Any]:
    """Evaluate a folder of generated clips. The real clips are embedded at the first call and kept.

    Args:
        generated: folder of generated clips.
        weights, labels, real, encoder: see :class:`Esc10Evaluator`.

    Returns:
        What :meth:`Esc10Evaluator.evaluate` returns.
    """
    evaluator = _evaluator(Path(weights), None if labels is None else Path(labels), Path(real), encoder)
    return evaluator.evaluate(clips_of_folder(Path(generated)))


def evaluate_real(
    weights: str | Path, labels: str | Path | None, real: str | Path, encoder: str = MN04
) -> dict[str, Any]:
    """Evaluate the real clips of fold 5 against folds 1-4, as :func:`evaluate_folder`; ``real`` is ESC-50."""
    evaluator = _evaluator(Path(weights), None if labels is None else Path(labels), Path(real), encoder)
    return evaluator.evaluate(clips_of_folds(Path(real), folds="5"))


def report(scores: dict[str, Any]) -> str:
    """The scores as a table."""
    lines = [f"{'class':16}{'clips':>6}{'accuracy':>10}{'diversity':>11}"]
    for label, accuracy in scores["accuracy_by_class"].items():
        diversity = scores["diversity_by_class"].get(label, float("nan"))
        lines.append(f"{label:16}{scores['clips_by_class'][label]:6}{accuracy:10.1%}{diversity:11.2f}")
    lines.append(f"{'all':16}{scores['clips']:6}{scores['accuracy']:10.1%}{scores['diversity']:11.2f}")
    lines.append(
        f"Fréchet distance {scores['frechet_distance']:.2f} to {scores['real_clips']} real clips "
        f"({scores['real_accuracy'] * scores['real_clips']:.0f} of them recognised)"
    )
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Evaluate sounds of the ten classes of ESC-10.")
    parser.add_argument("--encoder", default=MN04, help="class of another encoder than mn04")
    parser.add_argument("--weights", type=Path, required=True, help="of the encoder, such as mn04_as_mAP_432.pt")
    parser.add_argument("--labels", type=Path, help="AudioSet's classes: index, display_name; needed by mn04")
    parser.add_argument("--real", type=Path, required=True, help="real clips: a folder, or that of ESC-50")
    parser.add_argument("--generated", type=Path, help="generated clips; without it fold 5 of --real is evaluated")
    options = parser.parse_args(args)
    if options.labels is None and options.encoder == MN04:
        parser.error("--labels is needed by mn04: specify the table of AudioSet's classes")
    encoder = (options.weights, options.labels, options.real, options.encoder)
    if options.generated is not None:
        scores = evaluate_folder(options.generated, *encoder)
    elif not is_esc50(options.real):
        parser.error(f"--generated is needed where --real is not ESC-50: {options.real} does not have fold 5")
    else:
        scores = evaluate_real(*encoder)
    print(report(scores))


if __name__ == "__main__":
    main()
