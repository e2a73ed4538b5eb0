r"""Do metrics get worse as real sounds do? Degrades recordings step by step and draws each metric's values.

    python -m tools.metric_behaviour path/to/esc50 --weights mn04_as_mAP_432.pt \
        --output docs/pictures/metric_behaviour.png

The folder is that of https://github.com/karolpiczak/ESC-50. Clips of its folds 1 and 2 stand for what a perfect model
generates, as many of folds 3 to 5 (other recordings) for the reference of the metrics of sets. So the undegraded clips
show each metric's floor: half of the real clips against the other half. Metrics of pairs compare a degraded clip with
itself before. The tagger mn04 embeds the clips for all metrics but CLAP's, for which the bundled tiny-clap embeds those
of ESC-10, the ten classes it knows. Diversity is that within a class.

Degradations: white noise at a signal-to-noise ratio; all above a frequency removed; the waveform later by some seconds,
which silence fills (what is beyond the end is lost), or rotated (nothing is lost); the clips of a share of the classes
exchanged with each other (which leaves the set as it is), or replaced by clips of the other classes.

Prints the table; draws with matplotlib (extra ``report``) if ``--output`` is given.
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
from torch import Tensor
from tqdm import tqdm

from consistency_tta.audio.resample import resample
from consistency_tta.components.clap import TransformersClap
from consistency_tta.metrics.clap import CLAPAudioScore, CLAPScore
from consistency_tta.metrics.coverage import Coverage
from consistency_tta.metrics.divergence import SigmoidDivergence, SoftmaxDivergence
from consistency_tta.metrics.diversity import PromptDiversity
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.metrics.frechet_infinity import FrechetInfinity
from consistency_tta.metrics.inception import InceptionScore
from consistency_tta.metrics.kernel import KernelAudioDistance, KernelDistance
from consistency_tta.metrics.lsd import LogSpectralDistance
from consistency_tta.metrics.mn04 import EMBEDDING_DIM, NUM_CLASSES, AudioTagger
from consistency_tta.reporting.figure import new_figure, png, require_matplotlib
from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.bundled import TRANSFORMERS, resolve
from tools.degradations import SAMPLE_RATE, STEPS, degraded, shuffled
from tools.esc10_captions import Recording, captions_by_label, recordings

#: Metrics by the name in the table, and whether more is better.
HIGHER_IS_BETTER = {
    "Fréchet": False,
    "Fréchet, infinity": False,
    "KAD": False,
    "KID": False,
    "precision": True,
    "recall": True,
    "density": True,
    "coverage": True,
    "IS": True,
    "diversity": True,
    "KL softmax": False,
    "KL sigmoid": False,
    "LSD": False,
    "CLAP text": True,
    "CLAP audio": True,
}


class Clips(NamedTuple):
    """N recordings: waveforms (N, samples), classes, captions, and which of them are of ESC-10, and have some (N,)."""

    waveform: Tensor
    labels: list[str]
    captions: list[str]
    esc10: Tensor


class AudioEmbedding(NamedTuple):
    """The tagger's embeddings (N, 384) and logits (N, 527) of N clips."""

    embeddings: Tensor
    logits: Tensor


def read(esc50: Path, folds: str, per_class: int) -> Clips:
    """The first clips of each class in the folds, class by class; captions are those of ESC-10's classes."""
    chosen: dict[str, list[Recording]] = defaultdict(list)
    for clip in recordings(esc50, all_classes=True):
        if clip.fold in folds and len(chosen[clip.label]) < per_class:
            chosen[clip.label].append(clip)
    clips = [clip for label in sorted(chosen) for clip in chosen[label]]
    if any(len(of_class) < per_class for of_class in chosen.values()) or not clips:
        raise DataError(f"expected {per_class} clips of each class in folds {', '.join(folds)} of {esc50}")
    waveforms, captions = [], captions_by_label()
    for clip in clips:
        samples, rate = soundfile.read(clip.file, dtype="float32")
        waveforms.append(resample(torch.from_numpy(samples), rate, SAMPLE_RATE))
    return Clips(
        torch.stack(waveforms),
        [clip.label for clip in clips],
        [captions.get(clip.label, [""])[0] for clip in clips],
        torch.tensor([clip.esc10 for clip in clips]),
    )


def embed(tagger: AudioTagger, waveform: Tensor) -> AudioEmbedding:
    """Embeddings and logits of waveforms (N, samples)."""
    with torch.inference_mode():
        outputs = [tagger(batch, SAMPLE_RATE) for batch in tqdm(waveform.split(10))]
    return AudioEmbedding(torch.cat([vectors for _, vectors in outputs]), torch.cat([logits for logits, _ in outputs]))


def measure_sets(generated: AudioEmbedding, reference: AudioEmbedding, labels: Sequence[str]) -> dict[str, float]:
    """Metrics of sets, by name; diversity is that within the classes (N labels) given."""
    clips = len(generated.embeddings)
    metrics = {
        "Fréchet": FrechetDistance(EMBEDDING_DIM),
        "infinity": FrechetInfinity(EMBEDDING_DIM, min_clips=clips // 2, num_sizes=5),
        "KAD": KernelAudioDistance(EMBEDDING_DIM),
        "KID": KernelDistance(EMBEDDING_DIM),
        "neighbours": Coverage(EMBEDDING_DIM),
    }
    values: dict[str, Tensor] = {}
    for name, metric in metrics.items():
        metric.update(reference.embeddings, real=True)
        metric.update(generated.embeddings, real=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*span fewer than")  # the page says so
            result = metric.compute()
        values |= {name: result} if isinstance(result, Tensor) else result
    score = InceptionScore(NUM_CLASSES, splits=1)
    score.update(generated.logits)
    diversity, numbers = PromptDiversity(), {label: number for number, label in enumerate(sorted(set(labels)))}
    diversity.update(generated.embeddings, torch.tensor([numbers[label] for label in labels]))
    values |= {"IS": score.compute()["mean"], "Fréchet, infinity": values["distance"], "diversity": diversity.compute()}
    return {name: float(value) for name, value in values.items()}


def measure_pairs(
    generated: AudioEmbedding, real: AudioEmbedding, waveform: Tensor, clips: Clips, clap: TransformersClap
) -> dict[str, float]:
    """Metrics of pairs, by name."""
    softmax, sigmoid, lsd = SoftmaxDivergence(), SigmoidDivergence(), LogSpectralDistance(SAMPLE_RATE)
    text, audio = CLAPScore(clap), CLAPAudioScore(clap)
    softmax.update(generated.logits, real.logits)
    sigmoid.update(generated.logits, real.logits)
    lsd.update(waveform, clips.waveform)
    known = clips.esc10.nonzero()[:, 0].tolist()
    with torch.inference_mode():
        text.update(waveform[known], [clips.captions[place] for place in known], SAMPLE_RATE)
        audio.update(waveform[known], clips.waveform[known], SAMPLE_RATE)
    metrics = {"KL softmax": softmax, "KL sigmoid": sigmoid, "LSD": lsd, "CLAP text": text, "CLAP audio": audio}
    return {name: float(metric.compute()) for name, metric in metrics.items()}


def measure(clips: Clips, reference: Clips, tagger: AudioTagger, clap: TransformersClap) -> dict[str, list[float]]:
    """For each kind and step, and for the floor (``""``), the values in the order of HIGHER_IS_BETTER."""
    real, other = embed(tagger, clips.waveform), embed(tagger, reference.waveform)

    def all_metrics(embedding: AudioEmbedding, waveform: Tensor) -> list[float]:
        values = measure_sets(embedding, other, clips.labels) | measure_pairs(embedding, real, waveform, clips, clap)
        return [values[name] for name in HIGHER_IS_BETTER]

    found = {"": all_metrics(real, clips.waveform)}
    for kind, steps in STEPS.items():
        for step in steps:
            if kind in ("exchanged", "replaced"):
                order = shuffled(clips.labels, kind, step)
                embedding, waveform = AudioEmbedding(real.embeddings[order], real.logits[order]), clips.waveform[order]
            else:
                waveform = degraded(clips.waveform, kind, step)
                embedding = embed(tagger, waveform)
            found[f"{kind} {step:g}"] = all_metrics(embedding, waveform)
    return found


def table(found: dict[str, list[float]]) -> str:
    """Markdown: a row for each metric; in brackets what does not worsen from step to step of a kind."""
    header = ["floor", *(f"{kind.split(',')[0]} {step:g}" for kind, steps in STEPS.items() for step in steps)]
    lines = ["| metric | " + " | ".join(header) + " |", "|---" * (len(header) + 1) + "|"]
    for place, (name, higher) in enumerate(HIGHER_IS_BETTER.items()):
        cells = [f"{found[''][place]:.3g}"]
        for kind, steps in STEPS.items():
            before = float(cells[0])
            for step in steps:
                value = float(f"{found[f'{kind} {step:g}'][place]:.3g}")  # as printed: rounding is no change
                worse = value < before if higher else value > before
                cells.append(f"{value:g}" if worse else f"({value:g})")
                before = value
        lines.append(f"| {name} {'↑' if higher else '↓'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(found: dict[str, list[float]], output: Path) -> None:
    """One small picture for each metric, a line for each degradation."""
    with new_figure(13, 10) as figure:
        axes = figure.subplots(4, 4)
        for place, (axis, (name, higher)) in enumerate(zip(axes.flat, HIGHER_IS_BETTER.items(), strict=False)):
            axis.axhline(found[""][place], color="grey", linestyle=":", linewidth=1)
            for kind, steps in STEPS.items():
                values = [found[""][place], *(found[f"{kind} {step:g}"][place] for step in steps)]
                label = f"{kind}: {', '.join(f'{step:g}' for step in steps)}"
                axis.plot(range(len(values)), values, marker="o", markersize=3, linewidth=1.2, label=label)
            axis.set_title(f"{name} ({'more' if higher else 'less'} is better)", fontsize=9)
            axis.set_xticks(range(4), ["none", "1", "2", "3"], fontsize=7)
            axis.tick_params(axis="y", labelsize=7)
        axes.flat[-1].axis("off")
        axes.flat[-1].legend(*axes.flat[0].get_legend_handles_labels(), loc="center", fontsize=9, title="degraded by")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(png(figure))


def main(args: list[str] | None = None) -> dict[str, list[float]]:
    """MetricSpec, print, draw."""
    parser = argparse.ArgumentParser(description="What metrics say of recordings that get worse.")
    parser.add_argument("esc50", type=Path, help="folder with meta/esc50.csv, or clips.csv")
    parser.add_argument("--weights", type=Path, required=True, help="mn04_as_mAP_432.pt")
    parser.add_argument("--clap", default="tiny-clap", help="folder or bundled name")
    parser.add_argument("--per_class", type=int, default=4, help="clips of each class in each half")
    parser.add_argument("--output", type=Path, help="PNG")
    options = parser.parse_args(args)
    if options.output:
        require_matplotlib()  # now, and not after minutes of computing
    clips, reference = (read(options.esc50, folds, options.per_class) for folds in ("12", "345"))
    found = measure(
        clips,
        reference,
        AudioTagger.from_checkpoint(options.weights),
        TransformersClap(resolve(options.clap, TRANSFORMERS)),
    )
    print(f"{len(clips.labels)} clips against {len(reference.labels)} others\n\n{table(found)}")
    if options.output:
        draw(found, options.output)
    return found


if __name__ == "__main__":
    main()
