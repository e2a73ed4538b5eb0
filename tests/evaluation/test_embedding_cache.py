"""The cache returns an embedding for the same content, weights and settings, and for no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation import embedding_cache as module
from consistency_tta.evaluation.embedding_cache import EmbeddingCache
from tests.evaluation.cases import ToyNetwork


@pytest.mark.parametrize("logits", [None, torch.randn(5)])
def test_what_is_kept_comes_back(logits: torch.Tensor | None, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "new")
    path = cache.path("content", ToyNetwork(), {"rate": 1})
    assert cache.load(path) is None
    vectors = torch.randn(3, 4)
    cache.save(path, AudioEmbedding(vectors, logits))
    found = cache.load(path)
    assert found is not None
    assert torch.equal(found.vectors, vectors)
    assert (found.logits is None) if logits is None else torch.equal(found.logits, logits)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


def test_each_circumstance_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, network = EmbeddingCache(tmp_path), ToyNetwork()
    paths = {cache.path("a", network, {"x": 1, "y": 2}), cache.path("a", network, {"y": 2, "x": 1})}
    assert len(paths) == 1
    paths |= {cache.path("b", network, {"x": 1, "y": 2}), cache.path("a", network, {"x": 1, "y": 3})}
    network.checksum = "1" * 64
    paths.add(cache.path("a", network, {"x": 1, "y": 2}))
    monkeypatch.setattr(module, "FORMAT", 2)
    paths.add(cache.path("a", network, {"x": 1, "y": 2}))
    assert len(paths) == 5


def test_a_damaged_file_is_computed_again(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    path = cache.path("content", ToyNetwork(), None)
    path.parent.mkdir(parents=True)
    for content in (b"", b"damaged"):
        path.write_bytes(content)
        assert cache.load(path) is None
    save_file({"others": torch.zeros(1)}, path)
    assert cache.load(path) is None


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, goal: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    cache = EmbeddingCache(tmp_path)
    with pytest.raises(OSError, match="disk full"):
        cache.save(cache.path("content", ToyNetwork(), None), AudioEmbedding(torch.zeros(1, 4)))
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
