"""Sound to latents and back by an autoencoder of waveforms, as Stable Audio and TangoFlux have it."""

from __future__ import annotations

import math

import torch
from diffusers import AutoencoderOobleck
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.contracts import Codec, to_channels
from consistency_tta.runtime.errors import ConfigurationError, ShapeError


class WaveformCodec(Codec):
    """A :class:`~consistency_tta.contracts.Codec` over a variational autoencoder of waveforms, mono or stereo.

    The published autoencoders have latents of about unit variance and no scaling factor. One of another variance has
    ``scaling_factor`` in its ``config.json``.

    Sources: Evans et al., "Stable Audio Open", 2024, https://arxiv.org/abs/2407.14358, section 2.1; for the posterior
    (a standard deviation softplus(s) + 1e-4) ``OobleckDiagonalGaussianDistribution`` of diffusers.

    Args:
        vae: the autoencoder.
        mel: front end of :meth:`waveform_to_mel`, for losses and pictures; its sample rate must be the autoencoder's.
            By default windows of about 46 ms, a quarter of it as hop, and 64 bins up to half the sample rate.

    Raises:
        ConfigurationError: if the sample rates differ.
    """

    def __init__(self, vae: AutoencoderOobleck, mel: MelSpectrogram | None = None) -> None:
        super().__init__()
        self.vae = vae
        self.sample_rate: int = vae.config.sampling_rate
        self.channels: int = vae.config.audio_channels
        self.samples_per_frame: int = vae.hop_length
        self.scaling_factor: float = vae.config.get("scaling_factor") or 1.0
        self.mel = mel or mel_of_rate(self.sample_rate)
        if self.mel.config["sample_rate"] != self.sample_rate:
            raise ConfigurationError(
                f"the autoencoder works at {self.sample_rate} Hz, the mel at {self.mel.config['sample_rate']} Hz: "
                "give one of the same rate, or leave it out"
            )
        self.checkpointing = False

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the decoder's activations in the backward pass instead of keeping them, all at once."""
        self.checkpointing = True

    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform (B, channels, samples) -> moments (B, 2 C, T), see :class:`~consistency_tta.contracts.Codec`."""
        waveform = to_channels(waveform, self.channels)
        self._check_samples(waveform.shape[2])
        parameters = self.vae.encode(waveform.to(self.vae.dtype)).latent_dist.parameters
        mean, scale = parameters.float().chunk(2, dim=1)
        return torch.cat([mean, 2 * (F.softplus(scale) + 1e-4).log()], dim=1)

    def decode(self, latent: Tensor) -> Tensor:
        """Scaled latent (B, C, T) -> waveform (B, channels, T * samples_per_frame)."""
        unscaled = (latent / self.scaling_factor).to(self.vae.dtype)
        again = self.checkpointing and torch.is_grad_enabled()
        waveform = checkpoint(self._decode, unscaled, use_reentrant=False) if again else self._decode(unscaled)
        # Transposed convolutions of an odd stride return a few samples less.
        return F.pad(waveform.float(), (0, latent.shape[2] * self.samples_per_frame - waveform.shape[2]))

    def latent_shape(self, samples: int) -> tuple[int, ...]:
        """(C, T), see :class:`~consistency_tta.contracts.Codec`."""
        self._check_samples(samples)
        return self.vae.config.decoder_input_channels, samples // self.samples_per_frame

    def waveform_to_mel(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) -> mel (B, frames, bins)."""
        return self.mel(waveform)

    def _decode(self, unscaled: Tensor) -> Tensor:
        return self.vae.decode(unscaled).sample

    def _check_samples(self, samples: int) -> None:
        if samples % self.samples_per_frame:
            raise ShapeError(
                f"expected a multiple of {self.samples_per_frame} samples, of which the autoencoder makes one latent "
                f"frame, got {samples}: set num_samples so"
            )


def mel_of_rate(sample_rate: int) -> MelSpectrogram:
    """A mel front end for any sample rate in Hz, with windows between 30 and 60 ms."""
    n_fft = 2 ** round(math.log2(0.046 * sample_rate))
    return MelSpectrogram(sample_rate, n_fft, n_fft // 4, n_mels=64, f_max=sample_rate / 2)
