"""What metrics are computed from: what one network made of pairs of sounds, some of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from consistency_tta.contracts import AudioEmbedding

#: Numbers of either side's vectors in memory at a time.
CHUNK = 2**20


@dataclass
class Material:
    """What one network made of N pairs of sounds, in memory.

    Attributes:
        generated, reference: vectors (N, W, D), and logits (N, K) of networks that name classes.
        text: what it made of the captions (N, D), unit vectors; None for a network without words.
        prompts: (N,) int64, equal for clips with the same caption.
        more: what it made of more generated sounds of the same clips, of each (N, W, D).
    """

    generated: AudioEmbedding
    reference: AudioEmbedding
    text: Tensor | None
    prompts: Tensor
    more: tuple[AudioEmbedding, ...] = ()

    @cached_property
    def means(self) -> tuple[Tensor, Tensor]:
        """A vector for each generated and each reference sound, (N, D) float64."""
        return self.generated.vectors.double().mean(1), self.reference.vectors.double().mean(1)

    @cached_property
    def sets(self) -> tuple[Tensor, Tensor]:
        """All vectors of the generated and of the reference sounds, (N W, D)."""
        return self.generated.vectors.flatten(0, 1), self.reference.vectors.flatten(0, 1)


@dataclass
class Collection:
    """Any number of pairs, which need not fit into memory.

    Attributes:
        source: of all pairs, such as :mod:`consistency_tta.evaluation.embedding_memmap` has them.
        clips: the pairs meant (N,), int64 positions in the source; a pair may be among them several times.
    """

    source: Material
    clips: Tensor

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def vectors(self) -> tuple[int, int]:
        """How many there are on either side, N W, and their width D."""
        _, windows, width = self.source.generated.vectors.shape
        return len(self) * windows, width

    def draw(self, index: Tensor) -> Collection:
        """The pairs at ``index`` (int64 positions), in that order."""
        return replace(self, clips=self.clips[index])

    def chunks(self) -> Iterator[Material]:
        """All of them in order, at most :data:`CHUNK` numbers a side at a time, but at least one pair."""
        for clips in self.clips.split(max(1, CHUNK // self.source.generated.vectors[0].numel())):
            yield self._read(clips)

    def whole(self) -> Material:
        """All of them at once."""
        return self._read(self.clips)

    def _read(self, clips: Tensor) -> Material:
        source = self.source
        text = None if source.text is None else source.text[clips]
        generated, reference, *more = (
            _rows(heard, clips) for heard in (source.generated, source.reference, *source.more)
        )
        return Material(generated, reference, text, source.prompts[clips], tuple(more))


def collect(source: Material) -> Collection:
    """All pairs of a source."""
    return Collection(source, torch.arange(len(source.prompts)))


def _rows(heard: AudioEmbedding, clips: Tensor) -> AudioEmbedding:
    return AudioEmbedding(heard.vectors[clips], None if heard.logits is None else heard.logits[clips])
