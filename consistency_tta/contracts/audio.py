"""Audio networks: codecs between sound and latents, and encoders that embed sound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from consistency_tta.runtime.errors import ConfigurationError

#: Log-variance of a posterior that is a point: its standard deviation is 3e-7.
POINT_LOG_VARIANCE = -30.0


class Codec(nn.Module, ABC):
    """Sound to latents and back.

    Mel spectrograms are not part of the contract. A codec that decodes by way of them is also a :class:`Decoder`;
    :meth:`waveform_to_mel` computes them for losses and pictures, where a codec has a mel front end.

    Attributes:
        sample_rate: of all waveforms, in Hz.
        channels: of all waveforms; 1 is mono, 2 is stereo.
        samples_per_frame: samples of the waveform in one latent frame, the first dimension of ``*``.
        scaling_factor: brings latents to unit variance.
    """

    sample_rate: int
    channels: int
    samples_per_frame: int
    scaling_factor: float = 1.0

    @abstractmethod
    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform (B, channels, samples) in [-1, 1] as moments (B, 2 C, *), unscaled, in float32.

        A waveform of another number of channels, or (B, samples), is converted by
        :func:`~consistency_tta.contracts.to_channels`.

        Raises:
            ShapeError: if the number of samples is no multiple of ``samples_per_frame``.
        """

    def moments_to_latent(self, moments: Tensor, epsilon: Tensor | None = None) -> Tensor:
        """A scaled draw z_0 (B, C, *) from the posterior, or its mean where no noise ``epsilon`` (B, C, *) is given."""
        mean, log_variance = moments.chunk(2, dim=1)
        if epsilon is not None:
            # The clamp is that of diffusers' DiagonalGaussianDistribution.
            mean = mean + (0.5 * log_variance.clamp(-30, 20)).exp() * epsilon
        return mean * self.scaling_factor

    def latent_to_moments(self, latent: Tensor) -> Tensor:
        """Moments (B, 2 C, *) of a posterior that is a point, the scaled latent (B, C, *); a teacher's samples."""
        mean = latent / self.scaling_factor
        return torch.cat([mean, torch.full_like(mean, POINT_LOG_VARIANCE)], dim=1)

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Decode a scaled latent (B, C, *) to a waveform (B, channels, samples) in float32, with gradients."""

    @abstractmethod
    def latent_shape(self, samples: int) -> tuple[int, ...]:
        """(C, *) of the latents of a waveform with so many samples.

        Raises:
            ShapeError: if ``samples`` is no multiple of ``samples_per_frame``.
        """

    def waveform_to_mel(self, waveform: Tensor) -> Tensor:
        """Mel (B, frames, bins) of a waveform (B, samples) at ``sample_rate``.

        Raises:
            ConfigurationError: if the codec has no mel front end.
        """
        raise ConfigurationError(
            f"a loss or picture needs mel spectrograms, but {type(self).__name__} has no mel front end: "
            "add a mel component to the model folder, or use a loss of waveforms"
        )


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


@runtime_checkable
class Decoder(Protocol):
    """What decodes latents by way of a mel spectrogram, with gradients; such as a codec of mels."""

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
