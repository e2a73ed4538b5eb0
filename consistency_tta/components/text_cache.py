"""Text embeddings of captions that come again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch

from consistency_tta.contracts import TextEmbedding
from consistency_tta.runtime.device import to_device


class TextCache:
    """Embeds each caption of a batch once, and keeps what it computed of the last batches.

    Embeddings are kept by the batch's different captions, because padding changes them in the last bits: so what a
    batch gets does not depend on the batches before it.

    Args:
        encode: captions to their embedding.
        size: batches that are kept.
    """

    def __init__(self, encode: Callable[[Sequence[str]], TextEmbedding], size: int = 32) -> None:
        self.encode, self.size = encode, size
        self.kept: OrderedDict[tuple[str, ...], TextEmbedding] = OrderedDict()

    def __call__(self, captions: Sequence[str]) -> TextEmbedding:
        """Embedding (B, tokens, width) and mask (B, tokens), as of ``encode``."""
        unique = tuple(dict.fromkeys(captions))
        if unique not in self.kept:
            self.kept[unique] = self.encode(unique)
        self.kept.move_to_end(unique)
        while len(self.kept) > self.size:
            self.kept.popitem(last=False)
        text = self.kept[unique]
        if len(unique) == len(captions):
            return text
        rows = to_device(torch.tensor([unique.index(caption) for caption in captions]), text.mask.device)
        return TextEmbedding(text.embedding[rows], text.mask[rows])
