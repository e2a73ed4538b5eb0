"""Audio networks: codecs between sound and latents, and encoders that embed sound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn


class Codec(nn.Module, ABC):
    """Sound to latents and back.

    A codec of mel spectrograms (:class:`consistency_tta.components.codec.MelCodec`) also has ``waveform_to_mel``,
    ``latent_to_mel`` and ``mel_to_waveform``; losses must not expect them of every codec.

    Attributes:
        sample_rate: of all waveforms, in Hz.
        channels: of all waveforms; 1 is mono, 2 is stereo.
    """

    sample_rate: int
    channels: int

    @abstractmethod
    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform (B, channels, samples) -> moments (B, 2 C, *), unscaled, in float32."""

    @abstractmethod
    def moments_to_latent(self, moments: Tensor, epsilon: Tensor | None = None) -> Tensor:
        """A scaled draw z_0 (B, C, *) from the posterior, or its mean where no noise ``epsilon`` (B, C, *) is given."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Scaled latent (B, C, *) -> waveform (B, channels, samples), with gradients."""

    @abstractmethod
    def latent_shape(self, samples: int) -> tuple[int, ...]:
        """(C, *) of the latents of a waveform with so many samples."""


class AudioEncoder(nn.Module, ABC):
    """A frozen network that embeds sound, and captions where it has a text side, such as CLAP.

    Attributes:
        sample_rate: at which the network works, in Hz; :meth:`embed` resamples to it.
        checksum: SHA-256 of the weights' file in hexadecimal, None where it is not known.
    """

    sample_rate: int
    checksum: str | None = None

    @abstractmethod
    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Embed a waveform (B, samples) at ``sample_rate`` Hz as vectors (B, D), differentiable in the waveform."""

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Embed B captions as vectors (B, D) of the same space."""
        raise NotImplementedError(f"{type(self).__name__} embeds sound alone, and no captions")


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
