"""Embeddings on disk come back unchanged, leave no file behind, and need no memory of their own."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation.embedding_memmap import EmbeddingMemmap
from consistency_tta.runtime.errors import DataError


def test_sounds_come_back_as_they_were(tmp_path: Path) -> None:
    sounds = [AudioEmbedding(torch.randn(3, 4), torch.randn(6)) for _ in range(5)]
    kept = EmbeddingMemmap(7, tmp_path / "new")  # room for two more
    kept.extend(sounds[:2])
    kept.extend(sounds[2:])
    found = kept.rows_added()
    assert torch.equal(found.vectors, torch.stack([sound.vectors for sound in sounds]))
    assert torch.equal(found.logits, torch.stack([sound.logits for sound in sounds]))
    assert not list((tmp_path / "new").iterdir())


def test_networks_without_classes(tmp_path: Path) -> None:
    kept = EmbeddingMemmap(2, tmp_path)
    with pytest.raises(DataError):
        kept.rows_added()
    kept.extend([AudioEmbedding(torch.ones(1, 4))])
    assert kept.rows_added().logits is None


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    kept = EmbeddingMemmap(1_000_000, tmp_path)
    with pytest.raises(OSError, match="--cache"):
        kept.extend([AudioEmbedding(torch.ones(1, 512))])
    assert not list(tmp_path.iterdir())


def test_more_than_the_disk_has_is_an_error(tmp_path: Path) -> None:
    clips = shutil.disk_usage(tmp_path).free // 4096 + 10**6  # twice the room, and some
    with pytest.raises(OSError, match="--cache"):
        EmbeddingMemmap(clips, tmp_path).extend([AudioEmbedding(torch.ones(2, 1024))])


PROGRAM = """
import resource, sys
from pathlib import Path
import torch
from consistency_tta.evaluation.clip_embeddings import Material, collect
from consistency_tta.evaluation.metric_specs import METRICS
from consistency_tta.evaluation.embedding_memmap import EmbeddingMemmap
from consistency_tta.contracts import AudioEmbedding

clips, windows, width = int(sys.argv[2]), 75, 128


def evaluate(clips):
    sides = []
    for side in range(2):
        kept = EmbeddingMemmap(clips, Path(sys.argv[1]))
        for _ in range(clips):
            kept.extend([AudioEmbedding(torch.randn(windows, width), torch.randn(10))])
        sides.append(kept.rows_added())
    pairs = collect(Material(*sides, None, torch.arange(clips)))
    METRICS["frechet"].function(pairs.draw(torch.randint(clips, (clips,))))
    METRICS["distance"].per_clip(pairs)
    METRICS["kl_softmax"].per_clip(pairs)


def private():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmData"].split()[0])


evaluate(50)  # brings the libraries in
resource.setrlimit(resource.RLIMIT_DATA, (private() + 250_000_000,) * 2)
evaluate(clips)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone limits a process's memory without mapped files")
def test_thousands_of_sounds_fit_into_the_memory_of_a_few(tmp_path: Path) -> None:
    """Vectors of 230 MB, which in float64 and without their mean would take 920 MB more: 250 MB are allowed."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), "3000"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
