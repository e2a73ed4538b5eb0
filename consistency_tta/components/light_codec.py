"""Sound to latents by a mel front end and an autoencoder, and back by one light network."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from consistency_tta.components.fourier_decoder import FourierDecoder
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.mel_encoding import MelEncoding
from consistency_tta.runtime.errors import ConfigurationError


class LightCodec(MelEncoding):
    """A mono :class:`~consistency_tta.contracts.Codec` whose latents a :class:`FourierDecoder` decodes.

    The autoencoder's own decoder is not used. There is no mel on the way, so mels for losses and pictures are those of
    the decoded waveform.

    Args:
        mel: front end.
        vae: autoencoder of mels, of which only the encoder is used.
        vocoder: the decoder, named by the part of the model folder that it is in.

    Raises:
        ConfigurationError: if the decoder was made for another frame rate or other latents.
    """

    def __init__(self, mel: MelSpectrogram, vae: AutoencoderKL, vocoder: FourierDecoder) -> None:
        super().__init__(mel, vae)
        self.vocoder = vocoder
        bins = mel.config["n_mels"] // self.downsampling
        expected = (vae.config.latent_channels, bins, self.samples_per_frame)
        found = tuple(vocoder.config[name] for name in ("latent_channels", "latent_bins", "samples_per_frame"))
        if found != expected:
            raise ConfigurationError(
                "expected a decoder with latent_channels, latent_bins and samples_per_frame of "
                f"{', '.join(map(str, expected))}, as the autoencoder has them, got {', '.join(map(str, found))}"
            )

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the decoder's activations in the backward pass instead of keeping them, all at once."""
        self.checkpointing = True

    def decode(self, latent: Tensor) -> Tensor:
        """Scaled latent (B, C, T, F) -> waveform (B, 1, T * samples_per_frame)."""
        latent = latent.to(self.vocoder.dtype)
        again = self.checkpointing and torch.is_grad_enabled()
        waveform = checkpoint(self.vocoder, latent, use_reentrant=False) if again else self.vocoder(latent)
        return waveform[:, None]
