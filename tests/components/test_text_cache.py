"""Captions that come again are not embedded again, and get the same embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from consistency_tta.components.text_cache import TextCache
from consistency_tta.contracts import TextEmbedding


def test_each_caption_is_embedded_once_and_the_oldest_batch_is_dropped() -> None:
    calls: list[tuple[str, ...]] = []

    def encode(captions: Sequence[str]) -> TextEmbedding:
        calls.append(tuple(captions))
        return TextEmbedding(
            torch.tensor([[[float(len(caption))]] for caption in captions]), torch.ones(len(captions), 1).bool()
        )

    cache = TextCache(encode, size=2)
    text = cache(["dog", "rain", "dog"])
    assert text.embedding.flatten().tolist() == [3, 4, 3]
    assert text.mask.shape == (3, 1)
    assert cache(["dog", "dog", "rain"]).embedding.flatten().tolist() == [3, 3, 4]
    assert calls == [("dog", "rain")]
    cache(["a"])
    cache(["b"])
    cache(["dog", "rain"])
    assert calls == [("dog", "rain"), ("a",), ("b",), ("dog", "rain")]
