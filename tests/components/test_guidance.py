"""Fourier features of the guidance scale."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from consistency_tta.components.guidance import GuidanceEmbedding


def test_features_are_sines_and_cosines_of_w() -> None:
    embedding = GuidanceEmbedding(num_frequencies=4)
    w = torch.tensor([0.0, 1.5, 6.0])
    expected = [
        [function(2 * math.pi * value * frequency) for function in (math.sin, math.cos) for frequency in frequencies]
        for frequencies in [embedding.frequencies.double().tolist()]
        for value in w.tolist()
    ]
    assert embedding.num_features == 8
    torch.testing.assert_close(embedding(w), torch.tensor(expected), atol=1e-5, rtol=0)


def test_features_of_log_w() -> None:
    w = torch.tensor([0.5, 3.0])
    plain, logarithmic = GuidanceEmbedding(), GuidanceEmbedding(log=True)
    assert torch.equal(logarithmic(w), plain(w.log()))


def test_features_of_log_w_are_finite_without_guidance() -> None:
    logarithmic = GuidanceEmbedding(log=True)
    zero, smallest, small = logarithmic(torch.tensor([0.0, 0.001, 0.002]))
    assert torch.equal(zero, smallest)
    assert zero.isfinite().all()
    assert not torch.allclose(smallest, small)


def test_all_embeddings_of_one_width_agree_whatever_the_global_seed(tmp_path: Path) -> None:
    first = GuidanceEmbedding()
    torch.manual_seed(1)
    second = GuidanceEmbedding()
    first.save_pretrained(tmp_path)
    w = torch.linspace(0, 6, 7)
    assert torch.equal(first(w), second(w))
    assert torch.equal(GuidanceEmbedding.from_pretrained(tmp_path)(w), first(w))


def test_neighbouring_scales_look_alike_and_distant_ones_do_not() -> None:
    near, here, far = torch.nn.functional.normalize(GuidanceEmbedding()(torch.tensor([3.1, 3.0, 5.0])))
    assert here @ near > 0.95
    assert here @ far < 0.5
    assert not any(True for _ in GuidanceEmbedding().parameters())  # frozen: nothing to train
