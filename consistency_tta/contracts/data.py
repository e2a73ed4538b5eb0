"""Data: a batch of clips, and what is known of each for the denoiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass
class TextEmbedding:
    """What a text encoder makes of captions.

    Attributes:
        embedding: (B, tokens, width).
        mask: (B, tokens) bool, True where there is a token, False where there is padding.
    """

    embedding: Tensor
    mask: Tensor

    def rows(self, index: Tensor) -> TextEmbedding:
        """The examples at ``index`` (a bool mask or int64 positions), in that order."""
        return TextEmbedding(self.embedding[index], self.mask[index])


@dataclass
class Conditioning:
    """What a denoiser reads besides z_t and t, for B examples.

    A backbone takes what it knows and raises an error for what it needs and does not find.

    Attributes:
        text: the captions' embeddings.
        guidance_scale: w (B,), for a network that has learnt guidance; None for any other.
        texts: embeddings by further text encoders, by name.
        vectors: pooled vectors (B, width), by name.
        scalars: numbers (B,), by name, such as ``seconds_start`` and ``seconds_total``.
    """

    text: TextEmbedding
    guidance_scale: Tensor | None = None
    texts: dict[str, TextEmbedding] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    scalars: dict[str, Tensor] = field(default_factory=dict)

    def rows(self, index: Tensor) -> Conditioning:
        """The examples at ``index`` (a bool mask or int64 positions), in that order."""
        return Conditioning(
            self.text.rows(index),
            None if self.guidance_scale is None else self.guidance_scale[index],
            {name: text.rows(index) for name, text in self.texts.items()},
            {name: vector[index] for name, vector in self.vectors.items()},
            {name: scalar[index] for name, scalar in self.scalars.items()},
        )


@dataclass
class Trajectory:
    """The two ends of trajectories of a frozen guided teacher, which were solved beforehand, for B examples.

    Attributes:
        noise: standard normal (B, C, *), where they begin.
        latent: z_0 (B, C, *), scaled, where they end.
        guidance_scale: w (B,) of the teacher.
    """

    noise: Tensor
    latent: Tensor
    guidance_scale: Tensor

    def rows(self, index: Tensor) -> Trajectory:
        """The examples at ``index`` (a bool mask or int64 positions), in that order."""
        return Trajectory(self.noise[index], self.latent[index], self.guidance_scale[index])


@dataclass
class Batch:
    """What a datamodule hands to training. Give ``waveform``, or ``moments``, or both.

    Attributes:
        captions: B captions.
        ids: B names of the clips, for logs and file names.
        waveform: (B, samples) of one channel, or (B, channels, samples), at the model's sample rate, in [-1, 1];
            :func:`~consistency_tta.contracts.to_channels` makes either of the other.
        moments: (B, 2 C, *) mean and log-variance of the codec's posterior, unscaled, where latents were encoded
            beforehand.
        text: the captions' embeddings, where captions were encoded beforehand.
        audio_embeddings: embeddings (B, D) of the recordings, computed beforehand, by the checksum of their
            :class:`~consistency_tta.contracts.AudioEncoder`.
        trajectory: of a teacher, for these captions and w, where they were solved beforehand.
    """

    captions: list[str]
    ids: list[str]
    waveform: Tensor | None = None
    moments: Tensor | None = None
    text: TextEmbedding | None = None
    audio_embeddings: dict[str, Tensor] = field(default_factory=dict)
    trajectory: Trajectory | None = None

    def __len__(self) -> int:
        return len(self.captions)

    def first(self, number: int) -> Batch:
        """The first ``number`` examples."""
        waveform = None if self.waveform is None else self.waveform[:number]
        moments = None if self.moments is None else self.moments[:number]
        rows = torch.arange(min(number, len(self)))
        text, trajectory = self.text and self.text.rows(rows), self.trajectory and self.trajectory.rows(rows)
        embeddings = {name: vectors[:number] for name, vectors in self.audio_embeddings.items()}
        return Batch(self.captions[:number], self.ids[:number], waveform, moments, text, embeddings, trajectory)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (called by ``DataLoader(pin_memory=True)``)."""

        def pin(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.pin_memory()

        def pin_fields(value: Any) -> Any:
            return value and replace(value, **{name: tensor.pin_memory() for name, tensor in vars(value).items()})

        return replace(
            self,
            waveform=pin(self.waveform),
            moments=pin(self.moments),
            text=pin_fields(self.text),
            audio_embeddings={name: vectors.pin_memory() for name, vectors in self.audio_embeddings.items()},
            trajectory=pin_fields(self.trajectory),
        )


class LatentSource(ABC):
    """Makes latents for captions where there are no recordings."""

    @abstractmethod
    def __call__(self, captions: Sequence[str], seed: int) -> Tensor:
        """Posterior moments (captions, 2 C, *), unscaled, on the CPU; another seed makes others."""
