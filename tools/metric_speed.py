"""How fast metrics take clips in, and how much memory they hold and need, for growing numbers of clips.

    python -m tools.metric_speed [--clips 100 500 1000 2000] [--metrics frechet kad] [--networks tiny-clap mn04=FILE]

Embeddings and logits are random numbers; the cost of the networks that compute them is in lines of its own, for ten
seconds of noise at the network's rate. CLAP scores include the bundled CLAP, which embeds five seconds of each sound.
Each line is measured in a process of its own: clips a second of ``update`` (in
batches of 16) and seconds of ``compute``; MB that the states hold; MB by which the process's peak grew above what it
was before the first clip. A network, which keeps nothing, embeds the largest number of clips once, and its values are
read on the way there. All have as many threads as torch takes (OMP_NUM_THREADS). Let nothing else run meanwhile.
``tools/stand_in_weights.py`` makes files for networks whose weights are not at hand.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from consistency_tta.components.clap import TransformersClap
from consistency_tta.evaluation.networks import make_network
from consistency_tta.metrics.clap import CLAPAudioScore, CLAPScore
from consistency_tta.metrics.coverage import Coverage
from consistency_tta.metrics.divergence import SigmoidDivergence, SoftmaxDivergence
from consistency_tta.metrics.diversity import PromptDiversity
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.metrics.frechet_infinity import FrechetInfinity
from consistency_tta.metrics.inception import InceptionScore
from consistency_tta.metrics.kernel import KernelAudioDistance, KernelDistance
from consistency_tta.metrics.lsd import LogSpectralDistance

WIDTH, CLASSES, SAMPLE_RATE, SECONDS, BATCH = 512, 527, 16_000, 10, 16


def sets(metric: Metric, real: Tensor, generated: Tensor) -> None:
    """One batch of both sides."""
    metric.update(real, real=True)
    metric.update(generated, real=False)


def pairs(metric: Metric, real: Tensor, generated: Tensor) -> None:
    """One batch of pairs."""
    metric.update(generated, real)


def generated_alone(metric: Metric, real: Tensor, generated: Tensor) -> None:
    """One batch of generated clips."""
    metric.update(generated)


def of_prompts(metric: Metric, real: Tensor, generated: Tensor) -> None:
    """One batch of generated clips, two of each prompt."""
    metric.update(generated, torch.arange(len(generated)) // 2)


def of_captions(metric: Metric, real: Tensor, generated: Tensor) -> None:
    """One batch of generated sounds and their captions."""
    metric.update(generated, ["a dog barks"] * len(generated), SAMPLE_RATE)


def of_recordings(metric: Metric, real: Tensor, generated: Tensor) -> None:
    """One batch of pairs of sounds."""
    metric.update(generated, real, SAMPLE_RATE)


class Subject(NamedTuple):
    """A metric, how a batch gets into it, and the numbers of one clip."""

    make: Callable[[int], Metric]
    feed: Callable[[Metric, Tensor, Tensor], None]
    numbers: int


def tiny_clap() -> TransformersClap:
    """The bundled CLAP."""
    return TransformersClap("tiny-clap")


#: Made for a number of clips.
SUBJECTS: dict[str, Subject] = {
    "frechet": Subject(lambda clips: FrechetDistance(WIDTH), sets, WIDTH),
    "frechet_infinity": Subject(lambda clips: FrechetInfinity(WIDTH, min_clips=clips // 2), sets, WIDTH),
    "kad": Subject(lambda clips: KernelAudioDistance(WIDTH), sets, WIDTH),
    "kid": Subject(lambda clips: KernelDistance(WIDTH), sets, WIDTH),
    "coverage": Subject(lambda clips: Coverage(WIDTH), sets, WIDTH),
    "kl_softmax": Subject(lambda clips: SoftmaxDivergence(), pairs, CLASSES),
    "kl_sigmoid": Subject(lambda clips: SigmoidDivergence(), pairs, CLASSES),
    "inception": Subject(lambda clips: InceptionScore(CLASSES), generated_alone, CLASSES),
    "diversity": Subject(lambda clips: PromptDiversity(), of_prompts, WIDTH),
    "lsd": Subject(lambda clips: LogSpectralDistance(SAMPLE_RATE), pairs, SAMPLE_RATE * SECONDS),
    "clap_text": Subject(lambda clips: CLAPScore(tiny_clap()), of_captions, SAMPLE_RATE * SECONDS),
    "clap_audio": Subject(lambda clips: CLAPAudioScore(tiny_clap()), of_recordings, SAMPLE_RATE * SECONDS),
}


class Cost(NamedTuple):
    """What a metric cost."""

    clips_per_second: float
    compute_seconds: float
    state_mb: float
    peak_mb: float


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def cost(name: str, clips: int) -> Cost:
    """Of a metric that takes in some clips, real and generated ones."""
    subject = SUBJECTS[name]
    real, generated = torch.randn(2, BATCH, subject.numbers)
    for _ in range(2):  # the first warms up: a metric of few clips brings the libraries in
        metric = subject.make(2 * BATCH)
        subject.feed(metric, real, generated)
    metric, before, started = subject.make(clips), peak_mb(), time.perf_counter()
    for first in range(0, clips, BATCH):
        real.normal_()
        generated.normal_()
        subject.feed(metric, real[: clips - first], generated[: clips - first])
    updated = time.perf_counter()
    metric.compute()
    computed = time.perf_counter()
    states = [getattr(metric, state) for state in metric._defaults]
    tensors = [tensor for state in states for tensor in (state if isinstance(state, list) else [state])]
    stored = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
    return Cost(clips / (updated - started), computed - updated, stored, peak_mb() - before)


def network_costs(name: str, clips: Sequence[int]) -> list[Cost]:
    """Of a network after each of some numbers of clips, which rise; ``name=file`` says where its weights are."""
    network = make_network(*name.split("=", 1))
    noise = torch.randn(BATCH, network.sample_rate * SECONDS) / 10
    network.embed_windows(noise, network.sample_rate)  # warms up
    costs, embedded, before, started = [], 0, peak_mb(), time.perf_counter()
    for number in clips:
        while embedded < number:
            embedded += len(network.embed_windows(noise[: number - embedded], network.sample_rate).vectors)
        costs.append(Cost(number / (time.perf_counter() - started), 0.0, 0.0, peak_mb() - before))
    return costs


def row(name: str, clips: int, found: Cost) -> str:
    """Of the table."""
    return (
        f"| {name.split('=')[0]} | {clips} | {found.clips_per_second:.0f} | {found.compute_seconds:.2f} "
        f"| {found.state_mb:.2f} | {found.peak_mb:.0f} |"
    )


def main(args: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Speed and memory of the metrics, and of the networks that they use.")
    parser.add_argument("--clips", type=int, nargs="+", default=[100, 500, 1000, 2000])
    parser.add_argument("--metrics", nargs="*", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--networks", nargs="*", default=["tiny-clap"], help="names, or name=weights")
    options = parser.parse_args(args)
    clips = sorted(options.clips)
    print(f"{torch.get_num_threads()} threads\n")
    print("| metric | clips | clips / s | compute, s | states, MB | peak, MB |\n|---|---|---|---|---|---|")
    # A peak does not come down again: hence a process for each line.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name in options.metrics:
            for number in clips:
                print(row(name, number, pool.apply(cost, (name, number))), flush=True)
        for name in options.networks:
            for number, found in zip(clips, pool.apply(network_costs, (name, clips)), strict=True):
                print(row(name, number, found), flush=True)


if __name__ == "__main__":
    main()
