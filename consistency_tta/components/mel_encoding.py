"""Sound to latents by a mel front end and an autoencoder; what decodes them is another question."""

from __future__ import annotations

from math import isqrt

from diffusers import AutoencoderKL
from torch import Tensor

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.mel_patches import to_pictures
from consistency_tta.contracts import Codec, to_mono
from consistency_tta.runtime.errors import ShapeError


class MelEncoding(Codec):
    """The encoding half of a mono :class:`~consistency_tta.contracts.Codec` whose latents are those of a mel.

    Args:
        mel: front end.
        vae: autoencoder of mel "pictures" (B, 1, frames, bins), or, where its ``in_channels`` is p^2 > 1, of mels in
            patches of p x p (:mod:`~consistency_tta.components.mel_patches`); its ``scaling_factor`` brings latents to
            unit variance.
    """

    channels = 1

    def __init__(self, mel: MelSpectrogram, vae: AutoencoderKL) -> None:
        super().__init__()
        self.mel = mel
        self.vae = vae
        self.sample_rate: int = mel.config["sample_rate"]
        self.patch = isqrt(vae.config.in_channels)
        self.downsampling = self.patch * 2 ** (len(vae.config.block_out_channels) - 1)
        self.samples_per_frame: int = self.downsampling * mel.config["hop_length"]
        self.scaling_factor: float = vae.config.scaling_factor
        self.checkpointing = False

    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform (B, 1, samples) -> moments (B, 2 C, T, F), see :class:`~consistency_tta.contracts.Codec`."""
        return self.mel_to_moments(self.waveform_to_mel(to_mono(waveform)))

    def latent_shape(self, samples: int) -> tuple[int, ...]:
        """(C, T, F), see :class:`~consistency_tta.contracts.Codec`."""
        frames = samples // self.mel.config["hop_length"]
        self._check_frames(frames)
        bins = self.mel.config["n_mels"] // self.downsampling
        return self.vae.config.latent_channels, frames // self.downsampling, bins

    def waveform_to_mel(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) -> mel (B, frames, bins)."""
        return self.mel(waveform)

    def mel_to_moments(self, mel: Tensor) -> Tensor:
        """Mel (B, frames, bins) -> mean and log-variance of the posterior (B, 2 C, T, F), unscaled."""
        self._check_frames(mel.shape[1])
        pictures = to_pictures(mel, self.patch).to(self.vae.dtype)
        return self.vae.encode(pictures).latent_dist.parameters.float()

    def _check_frames(self, frames: int) -> None:
        if frames % self.downsampling:
            raise ShapeError(
                f"the autoencoder shrinks time by {self.downsampling}: expected a multiple of that many mel frames, "
                f"got {frames}; set num_samples to a multiple of {self.samples_per_frame}"
            )
