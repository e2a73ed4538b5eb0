"""The three networks of a graph export, each a pure function of tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from consistency_tta.components.backbones import Backbone
from consistency_tta.contracts import Codec, Conditioning, TextEmbedding
from consistency_tta.diffusion.noise import add_noise


class TextNetwork(nn.Module):
    """Token numbers to an embedding.

    Args:
        encoder: a Hugging Face text encoder.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token numbers and mask, int64 (B, tokens) -> embedding (B, tokens, width)."""
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()


class DenoiseNetwork(nn.Module):
    """Noise to a latent in one query of a student, at the top time.

    Args:
        denoiser: the student.
        seconds: length of the sounds, which some networks read.
    """

    def __init__(self, denoiser: Backbone, seconds: float) -> None:
        super().__init__()
        self.denoiser, self.seconds = denoiser, seconds

    def forward(self, noise: Tensor, embedding: Tensor, attention_mask: Tensor, guidance_scale: Tensor) -> Tensor:
        """Make latents.

        Args:
            noise: standard normal (B, C, *).
            embedding: (B, tokens, width), of :class:`TextNetwork`.
            attention_mask: int64 (B, tokens), 1 where there is a token.
            guidance_scale: w (B,).

        Returns:
            Latent (B, C, *).
        """
        top = torch.full_like(guidance_scale, float(self.denoiser.schedule.num_train_timesteps))
        start = torch.zeros_like(guidance_scale)
        scalars = {"seconds_start": start, "seconds_total": start + self.seconds}
        text = TextEmbedding(embedding, attention_mask.bool())
        z_t = add_noise(self.denoiser.schedule, torch.zeros_like(noise), noise, top)
        second_time = {} if self.denoiser.second_time_embedding is None else {"s": start}
        return self.denoiser(z_t, top, Conditioning(text, guidance_scale, scalars=scalars), **second_time)


class DecodeNetwork(nn.Module):
    """A latent to sound.

    Args:
        codec: whose vocoder uses real numbers alone, see :mod:`consistency_tta.graphs.real_vocoder`.
    """

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, latent: Tensor) -> Tensor:
        """Latent (B, C, *) -> waveform (B, channels, samples) in [-1, 1]."""
        return self.codec.decode(latent).clamp(-1, 1)
