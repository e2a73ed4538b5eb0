"""Sound to latents and back: mel front end, autoencoder and vocoder as one."""

from __future__ import annotations

from itertools import chain

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from consistency_tta.components.mel import MelSpectrogram


class AudioCodec(nn.Module):
    """Implements :class:`consistency_tta.contracts.Decoder`, and encodes.

    Args:
        mel: front end.
        vae: autoencoder of mel "pictures" (B, 1, frames, bins); its ``scaling_factor`` brings latents to unit variance.
        vocoder: mel (B, frames, bins) to waveform, such as ``transformers.SpeechT5HifiGan``; None where sound is not
            asked for.
    """

    def __init__(self, mel: MelSpectrogram, vae: AutoencoderKL, vocoder: nn.Module | None = None) -> None:
        super().__init__()
        self.mel = mel
        self.vae = vae
        self.vocoder = vocoder
        self.sample_rate: int = mel.config["sample_rate"]
        self.downsampling = 2 ** (len(vae.config.block_out_channels) - 1)
        self.checkpointing = False

    def enable_gradient_checkpointing(self) -> None:
        """Compute the decoders' inner values again on the way back instead of keeping them, for losses of sound.

        Block by block in the autoencoder, all at once in the vocoder. Costs about one more decode, and changes nothing.
        """
        self.vae.enable_gradient_checkpointing()
        self.checkpointing = True

    def waveform_to_mel(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) -> mel (B, frames, bins)."""
        return self.mel(waveform)

    def mel_to_moments(self, mel: Tensor) -> Tensor:
        """Mel (B, frames, bins) -> mean and log-variance of the posterior (B, 2 C, T, F), unscaled."""
        if mel.shape[1] % self.downsampling:
            raise ValueError(
                f"the autoencoder shrinks time by {self.downsampling}: expected a multiple of that many mel frames, "
                f"got {mel.shape[1]}; set num_samples to a multiple of "
                f"{self.downsampling * self.mel.config['hop_length']}"
            )
        return self.vae.encode(mel[:, None].to(self.vae.dtype)).latent_dist.parameters.float()

    def moments_to_latent(self, moments: Tensor, epsilon: Tensor | None = None) -> Tensor:
        """A scaled draw z_0 (B, C, T, F) from the posterior, or its mean where no noise ``epsilon`` is given."""
        mean, log_variance = moments.chunk(2, dim=1)
        if epsilon is not None:
            # The clamp is that of diffusers' DiagonalGaussianDistribution.
            mean = mean + (0.5 * log_variance.clamp(-30, 20)).exp() * epsilon
        return mean * self.vae.config.scaling_factor

    def latent_to_mel(self, latent: Tensor) -> Tensor:
        """Scaled latents (B, C, T, F) -> mel (B, frames, bins)."""
        decoded = self.vae.decode((latent / self.vae.config.scaling_factor).to(self.vae.dtype)).sample
        return decoded[:, 0].float()

    def mel_to_waveform(self, mel: Tensor) -> Tensor:
        """Mel (B, frames, bins) -> waveform (B, frames * hop_length)."""
        if self.vocoder is None:
            raise ValueError("a waveform was asked for, but the model folder has no vocoder: train or add one")
        mel = mel.to(next(chain(self.vocoder.parameters(), self.vocoder.buffers())).dtype)
        again = self.checkpointing and torch.is_grad_enabled()
        waveform = checkpoint(self.vocoder, mel, use_reentrant=False) if again else self.vocoder(mel)
        # HiFi-GAN's transposed convolutions return up to a frame more.
        return waveform[:, : mel.shape[1] * self.mel.config["hop_length"]].float()

    @torch.no_grad()
    def round_trip(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) -> latent mean -> waveform (B, frames * hop_length)."""
        moments = self.mel_to_moments(self.waveform_to_mel(waveform))
        return self.mel_to_waveform(self.latent_to_mel(self.moments_to_latent(moments)))
