"""Sound to latents and back by mel spectrograms: front end, autoencoder and vocoder as one."""

from __future__ import annotations

from itertools import chain

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.mel_encoding import MelEncoding
from consistency_tta.components.mel_patches import to_mel
from consistency_tta.runtime.errors import ModelFolderError


class MelCodec(MelEncoding):
    """A mono :class:`~consistency_tta.contracts.Codec` that encodes and decodes by way of mel spectrograms.

    Args:
        mel: front end.
        vae: see :class:`~consistency_tta.components.mel_encoding.MelEncoding`.
        vocoder: mel (B, frames, bins) to waveform, such as ``transformers.SpeechT5HifiGan``; None where no waveform is
            decoded.
    """

    def __init__(self, mel: MelSpectrogram, vae: AutoencoderKL, vocoder: nn.Module | None = None) -> None:
        super().__init__(mel, vae)
        self.vocoder = vocoder

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the decoders' activations in the backward pass instead of keeping them, for losses of sound.

        Block by block in the autoencoder, all at once in the vocoder. Costs about one more decode, and changes nothing.
        """
        self.vae.enable_gradient_checkpointing()
        self.checkpointing = True

    def decode(self, latent: Tensor) -> Tensor:
        """Scaled latent (B, C, T, F) -> waveform (B, 1, T * samples_per_frame)."""
        return self.mel_to_waveform(self.latent_to_mel(latent))[:, None]

    def latent_to_mel(self, latent: Tensor) -> Tensor:
        """Scaled latents (B, C, T, F) -> mel (B, frames, bins)."""
        return self.unscaled_to_mel(latent / self.scaling_factor)

    def unscaled_to_mel(self, latent: Tensor) -> Tensor:
        """Latents (B, C, T, F) as the autoencoder has them -> mel (B, frames, bins)."""
        return to_mel(self.vae.decode(latent.to(self.vae.dtype)).sample, self.patch)

    def mel_to_waveform(self, mel: Tensor) -> Tensor:
        """Mel (B, frames, bins) -> waveform (B, frames * hop_length)."""
        if self.vocoder is None:
            raise ModelFolderError(
                "decoding a waveform needs a vocoder, but the model folder has none: train or add one"
            )
        mel = mel.to(next(chain(self.vocoder.parameters(), self.vocoder.buffers())).dtype)
        again = self.checkpointing and torch.is_grad_enabled()
        waveform = checkpoint(self.vocoder, mel, use_reentrant=False) if again else self.vocoder(mel)
        # HiFi-GAN's transposed convolutions return up to a frame more.
        return waveform[:, : mel.shape[1] * self.mel.config["hop_length"]].float()

    @torch.no_grad()
    def round_trip(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) -> latent mean -> waveform (B, frames * hop_length)."""
        return self.decode(self.moments_to_latent(self.encode(waveform)))[:, 0]
