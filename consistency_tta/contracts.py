"""The contracts between the rooms of the house: what flows, and what can be plugged in.

Symbols, here and in every other file:

    z_0      clean latent (B, C, T, F): C channels, T time frames, F frequency bins
    z_t      noisy latent, z_t = alpha_t z_0 + sigma_t epsilon, alpha_t^2 + sigma_t^2 = 1
    t > s    two times in [0, num_train_timesteps], per example (B,); 0 is clean, and t = k + 1
             is what a diffusers scheduler calls timestep k
    w        guidance scale (B,): guided = unconditional + w (conditional - unconditional)
    SNR(t)   alpha_t^2 / sigma_t^2
    waveform (B, samples) in [-1, 1]
    mel      natural-log mel spectrogram (B, frames, bins)

A loss, weighting, solver, time grid or datamodule of a third party needs nothing but this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn


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
    """What a denoiser is told besides z_t and t.

    Attributes:
        text: the captions' embeddings.
        guidance_scale: w (B,), for a network that has learnt guidance; None for any other.
    """

    text: TextEmbedding
    guidance_scale: Tensor | None = None

    def rows(self, index: Tensor) -> Conditioning:
        """The examples at ``index``, in that order."""
        scale = None if self.guidance_scale is None else self.guidance_scale[index]
        return Conditioning(self.text.rows(index), scale)


@dataclass
class Batch:
    """What a datamodule hands to training. Give ``waveform``, or ``moments``, or both.

    Attributes:
        captions: B captions.
        ids: B names of the clips, for logs and file names.
        waveform: (B, samples) at the model's sample rate, in [-1, 1].
        moments: (B, 2 C, T, F) mean and log-variance of the autoencoder's posterior, unscaled, where
            latents were encoded beforehand.
        text: the captions' embeddings, where captions were encoded beforehand.
    """

    captions: list[str]
    ids: list[str]
    waveform: Tensor | None = None
    moments: Tensor | None = None
    text: TextEmbedding | None = None

    def __len__(self) -> int:
        return len(self.captions)

    def first(self, number: int) -> Batch:
        """The first ``number`` examples."""
        waveform = None if self.waveform is None else self.waveform[:number]
        moments = None if self.moments is None else self.moments[:number]
        text = self.text and self.text.rows(torch.arange(min(number, len(self))))
        return Batch(self.captions[:number], self.ids[:number], waveform, moments, text)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (called by ``DataLoader(pin_memory=True)``)."""

        def pin(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.pin_memory()

        text = self.text and TextEmbedding(self.text.embedding.pin_memory(), self.text.mask.pin_memory())
        return replace(self, waveform=pin(self.waveform), moments=pin(self.moments), text=text)


class NoiseSchedule(Protocol):
    """A variance-preserving noise schedule. All methods are elementwise and keep the shape of their argument."""

    num_train_timesteps: int

    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale alpha_t, in (0, 1]; 1 at t = 0."""

    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale sigma_t, in [0, 1); 0 at t = 0."""

    def snr(self, t: Tensor) -> Tensor:
        """alpha_t^2 / sigma_t^2; infinite at t = 0."""

    def ratio(self, t: Tensor) -> Tensor:
        """sigma_t / alpha_t, increasing in t; 0 at t = 0."""

    def time(self, ratio: Tensor) -> Tensor:
        """The inverse of :meth:`ratio`."""


class Denoiser(nn.Module, ABC):
    """An estimate of the clean latent. Guidance wraps a denoiser and is one."""

    schedule: NoiseSchedule

    @abstractmethod
    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Estimate z_0 (B, C, T, F) from z_t (B, C, T, F), t (B,) in (0, num_train_timesteps], and B conditions."""


class Solver(nn.Module, ABC):
    """One step along the probability-flow ODE of a denoiser; stateless, so that times may differ per example."""

    #: Queries of the denoiser that one step costs.
    queries_per_step: int = 1

    @abstractmethod
    def forward(self, denoiser: Denoiser, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """Step from z_t to z_s, both (B, C, T, F), for t > s >= 0 (B,) and B conditions.

        The denoiser's ``schedule`` gives alpha and sigma.
        """


class TimeGrid(nn.Module, ABC):
    """The times a solver stops at."""

    @abstractmethod
    def forward(self, schedule: NoiseSchedule, num_steps: int) -> Tensor:
        """(num_steps + 1,) float64 on the CPU, falling strictly from num_train_timesteps to 0."""


class Weighting(nn.Module, ABC):
    """How much the squared error of z_0 counts at noise level t."""

    @abstractmethod
    def forward(self, t: Tensor, schedule: NoiseSchedule) -> Tensor:
        """Weights (B,), >= 0 and finite, for times t (B,) > 0."""


class LatentSource(ABC):
    """Makes latents for captions where there are no recordings."""

    @abstractmethod
    def __call__(self, captions: Sequence[str], seed: int) -> Tensor:
        """Posterior moments (captions, 2 C, T, F), unscaled, on the CPU; another seed makes others."""


class Decoder(Protocol):
    """Latents to sound, frozen, with gradients."""

    sample_rate: int

    def latent_to_mel(self, latent: Tensor) -> Tensor:
        """(B, C, T, F) -> mel (B, frames, bins)."""

    def mel_to_waveform(self, mel: Tensor) -> Tensor:
        """Mel (B, frames, bins) -> waveform (B, samples)."""

    def waveform_to_mel(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) -> mel (B, frames, bins)."""


class AudioTextEncoder(nn.Module, ABC):
    """Sounds and captions as unit vectors of one space, near where they belong together, such as CLAP; frozen.

    Attributes:
        sample_rate: of the waveforms it is given, in Hz.
        checksum: SHA-256 of the weights' file in hexadecimal, None where it is not known.
    """

    sample_rate: int
    checksum: str | None = None

    @abstractmethod
    def embed_audio(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) at ``sample_rate`` -> unit vectors (B, D), differentiable in the waveform."""

    @abstractmethod
    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """B captions -> unit vectors (B, D)."""

    def audio_features(self, waveform: Tensor) -> list[Tensor]:
        """Waveform (B, samples) -> what the network's layers make of it, each (B, channels, ...); need not be there."""
        raise NotImplementedError(f"{type(self).__name__} has no audio_features")


class AudioOutput(ABC):
    """A trained network's sound beside the sound it should make; what a :class:`Loss` is given.

    Every property is computed when a loss first asks for it and then shared: any number of losses costs one decode, and
    nothing is decoded that no loss asks for.

    Attributes:
        batch: what the datamodule handed over.
        sample_rate: of all waveforms, in Hz.
        student_mel, student_waveform: made by the network in training; carry gradients.
        target_mel, target_waveform: what the student should make; without gradients.
        reference_waveform: the recording (B, samples), without gradients.
    """

    batch: Batch
    sample_rate: int
    student_mel: Tensor
    student_waveform: Tensor
    target_mel: Tensor
    target_waveform: Tensor

    @cached_property
    def reference_waveform(self) -> Tensor:
        """The recording (B, samples)."""
        if self.batch.waveform is None:
            raise ValueError(
                "a loss asks for the recording's waveform, but the batch has only pre-encoded latents: "
                "use a datamodule that reads audio, or drop the loss"
            )
        return self.batch.waveform


@dataclass
class DistillationOutput(AudioOutput):
    """One distillation step's result.

    Attributes:
        student_latent: f(z_t, t, w) (B, C, T, F), with gradients.
        target_latent: what it should equal (B, C, T, F), without gradients.
        clean_latent: z_0 (B, C, T, F).
        t, s: (B,), t > s; the target was found at s. Equal in stage 1, where teacher and student are asked alike.
        guidance_scale: w (B,).
        batch: what the datamodule handed over.
        decoder: makes mels and waveforms of latents, in the latents' own gradient mode. May see only a part of them in
            time; the batch's waveform is then the same part of the recordings.
        student_decoder: of the student's latent, where a decoder is trained along; ``decoder`` if None.
    """

    student_latent: Tensor
    target_latent: Tensor
    clean_latent: Tensor
    t: Tensor
    s: Tensor
    guidance_scale: Tensor
    batch: Batch
    decoder: Decoder = field(repr=False)
    student_decoder: Decoder | None = field(default=None, repr=False)

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        """Sample rate of all waveforms in Hz."""
        return self.decoder.sample_rate

    @cached_property
    def student_mel(self) -> Tensor:  # type: ignore[override]
        """Mel of the student's latent (B, frames, bins), with gradients."""
        return (self.student_decoder or self.decoder).latent_to_mel(self.student_latent)

    @cached_property
    def student_waveform(self) -> Tensor:  # type: ignore[override]
        """Sound of the student's latent (B, samples), with gradients."""
        return (self.student_decoder or self.decoder).mel_to_waveform(self.student_mel)

    @cached_property
    def target_mel(self) -> Tensor:  # type: ignore[override]
        """Mel of the target latent (B, frames, bins)."""
        with torch.no_grad():
            return self.decoder.latent_to_mel(self.target_latent)

    @cached_property
    def target_waveform(self) -> Tensor:  # type: ignore[override]
        """Sound of the target latent (B, samples)."""
        with torch.no_grad():
            return self.decoder.mel_to_waveform(self.target_mel)


class Loss(nn.Module, ABC):
    """One loss, one idea: per-example values, neither weighted nor averaged nor logged.

    What is expensive comes from ``out`` or is owned lazily and frozen, and never enters the state_dict.
    """

    #: Whether the noise weighting applies: yes for losses of latents, no for losses of sound.
    noise_weighted: bool = True

    @abstractmethod
    def forward(self, out: Any) -> Tensor:
        """Values (B,) of an :class:`AudioOutput` (:class:`DistillationOutput` for latent losses)."""
