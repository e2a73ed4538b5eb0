"""The embeddings of pairs of sounds by one network, from which metrics are computed, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation.reference_statistics import ReferenceStatistics

#: Numbers of either side's vectors in memory at a time.
CHUNK = 2**20


class UndefinedMetric(ValueError):  # noqa: N818 - a finding about the clips, reported with the other values
    """A metric has no value: there are too few clips, or they are too alike, or the network lacks what it needs."""


@dataclass
class Material:
    """The embeddings of N clips by one network.

    Attributes:
        generated: vectors (N, W, D), and logits (N, K) of networks that classify.
        reference: the same of the recordings; or statistics of other recordings, which pair with no clip.
        text: embeddings of the captions (N, D), unit vectors; None for a network without a text side.
        prompts: (N,) int64, equal for clips with the same caption.
        more: embeddings of more generated sounds of the same clips, each (N, W, D).
        captions: N texts.
    """

    generated: AudioEmbedding
    reference: AudioEmbedding | ReferenceStatistics
    text: Tensor | None
    prompts: Tensor
    more: tuple[AudioEmbedding, ...] = ()
    captions: Sequence[str] = ()

    @property
    def paired(self) -> AudioEmbedding:
        """Of the recordings, one for each clip.

        Raises:
            UndefinedMetric: there are statistics alone.
        """
        if isinstance(self.reference, ReferenceStatistics):
            raise UndefinedMetric("it needs the recording of each clip")
        return self.reference

    @cached_property
    def means(self) -> tuple[Tensor, Tensor]:
        """One vector for each generated sound, and for each recording, (N, D) float64."""
        return self.generated.vectors.double().mean(1), self.paired.vectors.double().mean(1)

    @cached_property
    def sets(self) -> tuple[Tensor, Tensor]:
        """All vectors of the generated sounds and of the recordings, (N W, D)."""
        return self.generated.vectors.flatten(0, 1), self.paired.vectors.flatten(0, 1)


@dataclass
class Collection:
    """Any number of clips, whose embeddings need not fit into memory.

    Attributes:
        source: embeddings of all clips, such as :mod:`consistency_tta.evaluation.embedding_memmap` keeps them on disk.
        clips: which of them (N,), int64 positions in the source; a clip may occur several times.
    """

    source: Material
    clips: Tensor

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def vectors(self) -> tuple[int, int]:
        """Number of generated vectors, N W, and their width D."""
        _, windows, width = self.source.generated.vectors.shape
        return len(self) * windows, width

    def draw(self, index: Tensor) -> Collection:
        """The clips at ``index`` (int64 positions), in that order."""
        return replace(self, clips=self.clips[index])

    def chunks(self) -> Iterator[Material]:
        """All clips in order, at most :data:`CHUNK` numbers a side at a time, but at least one clip."""
        for clips in self.clips.split(max(1, CHUNK // self.source.generated.vectors[0].numel())):
            yield self._read(clips)

    def whole(self) -> Material:
        """All clips at once."""
        return self._read(self.clips)

    def _read(self, clips: Tensor) -> Material:
        source, reference = self.source, self.source.reference
        return Material(
            _rows(source.generated, clips),
            reference if isinstance(reference, ReferenceStatistics) else _rows(reference, clips),
            None if source.text is None else source.text[clips],
            source.prompts[clips],
            tuple(_rows(embedding, clips) for embedding in source.more),
            [source.captions[k] for k in clips.tolist()] if source.captions else (),
        )


def collect(source: Material) -> Collection:
    """All clips of a source."""
    return Collection(source, torch.arange(len(source.prompts)))


def number_captions(captions: Sequence[str]) -> Tensor:
    """Equal numbers (N,) int64 for equal captions, in the order of their first use."""
    order = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    return torch.tensor([order[caption] for caption in captions], dtype=torch.int64)


def _rows(embedding: AudioEmbedding, clips: Tensor) -> AudioEmbedding:
    return AudioEmbedding(embedding.vectors[clips], None if embedding.logits is None else embedding.logits[clips])
