"""Audio networks: codecs between sound and latents, and encoders that embed sound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from consistency_tta.runtime.errors import ConfigurationError

#: Log-variance of a posterior that is a point: its standard deviation is 3e-7.
POINT_LOG_VARIANCE = -30.0


class Codec(nn.Module, ABC):
    """Sound to latents and back.

    Mel spectrograms are not part of the contract. A codec that decodes by way of them is also a :class:`MelDecoder`;
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


@dataclass
class AudioEmbedding:
    """What an :class:`AudioEncoder` computes of B sounds, for metrics.

    Attributes:
        vectors: (B, W, D) float32, W >= 1 vectors of width D for each sound: one for a network that embeds a whole
            sound, one for each window of a network such as VGGish. Metrics of sets take each vector as a sample,
            metrics of clips take the mean over W.
        logits: (B, K) of K classes before softmax or sigmoid; None for a network that does not classify.
    """

    vectors: Tensor
    logits: Tensor | None = None


class AudioEncoder(nn.Module, ABC):
    """A frozen network that embeds sounds, and captions where it has a text side, such as CLAP.

    One class serves losses and metrics. A subclass defines :meth:`embed`, ``sample_rate`` and ``num_features``; all
    else is optional. Keep the network in a :class:`~consistency_tta.runtime.frozen.Frozen`, so that no optimizer and no
    checkpoint sees its weights, and resample with :func:`consistency_tta.audio.resample.resample`.

    Attributes:
        name: short, such as ``mn04``; used in messages and in the cache of embeddings. The class's name by default.
        sample_rate: at which the network works, in Hz; :meth:`embed` resamples to it.
        num_features: D, the width of the vectors.
        min_samples: length of the shortest sound that can be embedded, in samples at ``sample_rate``.
        checksum: SHA-256 of the weights' file in hexadecimal, which distinguishes two checkpoints; None where it is not
            known.
    """

    name: str
    sample_rate: int
    num_features: int
    min_samples: int = 1
    checksum: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__

    @abstractmethod
    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Embed each sound as one vector.

        Args:
            waveform: (B, samples) in [-1, 1], all of one length.
            sample_rate: of the waveform, in Hz.

        Returns:
            (B, D), differentiable in the waveform. Vectors of an encoder with a text side have length 1.
        """

    def embed_windows(self, waveform: Tensor, sample_rate: int) -> AudioEmbedding:
        """Embed each sound as metrics need it, in float32: the vectors of its windows, and logits where there are some.

        By default one vector for each sound, that of :meth:`embed`, and no logits.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            return AudioEmbedding(self.embed(waveform.float(), sample_rate)[:, None])

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Embed B captions as vectors (B, D) of length 1, in the space of :meth:`embed`; optional."""
        raise NotImplementedError(f"{type(self).__name__} embeds sounds alone, and no captions")

    def layer_features(self, waveform: Tensor, sample_rate: int) -> list[Tensor]:
        """Outputs of the network's layers, each (B, channels, ...), differentiable in the waveform; optional."""
        raise NotImplementedError(f"{type(self).__name__} does not give the outputs of its layers")

    @property
    def embeds_text(self) -> bool:
        """Whether it has a text side, that is, defines :meth:`embed_text`."""
        return type(self).embed_text is not AudioEncoder.embed_text

    @property
    def has_layer_features(self) -> bool:
        """Whether it defines :meth:`layer_features`."""
        return type(self).layer_features is not AudioEncoder.layer_features


@runtime_checkable
class MelDecoder(Protocol):
    """What decodes latents by way of a mel spectrogram, with gradients: a codec of mels, but none of waveforms."""

    sample_rate: int

    def latent_to_mel(self, latent: Tensor) -> Tensor:
        """(B, C, T, F) -> mel (B, frames, bins)."""

    def mel_to_waveform(self, mel: Tensor) -> Tensor:
        """Mel (B, frames, bins) -> waveform (B, samples)."""
