"""Memory that `consistency-tta evaluate` needs for embeddings, for growing numbers of clips. Linux only.

    python -m tools.evaluation_memory [--clips 50 5000 50000] [--shape 1 384 527]

Random vectors (W, D) and logits (K,) of each sound stand for mn04's embeddings, or another network's; the
Fréchet distance and KL divergence of all clips are computed with intervals, ten draws of the Fréchet distance instead
of two hundred. Each number is measured in a process of its own: the largest memory that is the process's own (RssAnon,
which no mapped file counts to) beyond what it was before the first clip, and the room on the disk.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import torch

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation.bootstrap import mean_interval, set_intervals
from consistency_tta.evaluation.clip_embeddings import Material, collect
from consistency_tta.evaluation.embedding_memmap import EmbeddingMemmap
from consistency_tta.evaluation.metric_specs import METRICS
from consistency_tta.evaluation.protocol import BootstrapSettings

BOOTSTRAP = BootstrapSettings(resamples=1000, set_resamples=10)


class Need(NamedTuple):
    """Of an evaluation."""

    seconds: float
    memory_mb: float
    disk_mb: float


def own_mb() -> float:
    """Memory that is this process's own."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().rstrip().split("\n"))
    return int(status["RssAnon"].split()[0]) / 1e3


class Peak:
    """The largest :func:`own_mb` while it is entered, looked at every hundredth of a second."""

    def __enter__(self) -> Peak:
        self.mb, self.ended = own_mb(), threading.Event()
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def _look(self) -> None:
        while not self.ended.wait(0.01):
            self.mb = max(self.mb, own_mb())


def evaluate(clips: int, shape: tuple[int, int, int]) -> None:
    """Compute an evaluation's metrics of generated and reference clips with vectors (W, D) and logits (K,)."""
    windows, width, classes = shape
    with tempfile.TemporaryDirectory() as folder:
        generated, reference = EmbeddingMemmap(clips, Path(folder)), EmbeddingMemmap(clips, Path(folder))
        for side in (generated, reference):
            for _ in range(clips):
                side.extend([AudioEmbedding(torch.randn(windows, width), torch.randn(classes))])
        pairs = collect(Material(generated.rows_added(), reference.rows_added(), None, torch.arange(clips)))
        mean_interval(METRICS["kl_sigmoid"].per_clip(pairs), BOOTSTRAP, seed=0)
        frechet = METRICS["frechet"]
        set_intervals(frechet.function(pairs), frechet.draw_values(pairs), clips, BOOTSTRAP, seed=0)


def need(clips: int, shape: tuple[int, int, int]) -> Need:
    """Of some clips."""
    warnings.simplefilter("ignore", UserWarning)  # of fewer clips than dimensions
    evaluate(50, shape)  # brings the libraries in
    before, started = own_mb(), time.perf_counter()
    with Peak() as peak:
        evaluate(clips, shape)
    windows, width, classes = shape
    return Need(time.perf_counter() - started, peak.mb - before, 8 * clips * (windows * width + classes) / 1e6)


def main(args: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Memory of an evaluation.")
    parser.add_argument("--clips", type=int, nargs="+", default=[50, 5000, 50000])
    parser.add_argument("--shape", type=int, nargs=3, default=[1, 384, 527], help="vectors a sound, width, classes")
    options = parser.parse_args(args)
    print("| clips | seconds | memory, MB | disk, MB |\n|---|---|---|---|")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for clips in options.clips:
            found = pool.apply(need, (clips, tuple(options.shape)))
            print(f"| {clips} | {found.seconds:.0f} | {found.memory_mb:.0f} | {found.disk_mb:.0f} |", flush=True)


if __name__ == "__main__":
    main()
