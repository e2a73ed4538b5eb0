"""What TangoFlux's transformer reads besides text embeddings: a pooled text and a duration."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioNumberConditioner
from torch import Tensor, nn


class TangoFluxProjection(ModelMixin, ConfigMixin):
    """TangoFlux's projection of the mean text embedding, and its embedding of a duration in seconds.

    Source: Hung et al., "TangoFlux: Super Fast and Faithful Text to Audio Generation with Flow Matching and
    Clap-Ranked Preference Optimization", 2024, https://arxiv.org/abs/2412.21037; ``fc`` and ``duration_emebdder`` in
    ``tangoflux/model.py`` of https://github.com/declare-lab/TangoFlux.

    Args:
        text_width: of the text embeddings, and of all that is made here.
        max_seconds: longest duration; longer ones are clamped to it.
        latent_frames: T of the latents that the transformer was trained on, 645 for 30 s at 44.1 kHz.

    Attributes:
        padding: (text_width,) what the text encoder returns for padding after the empty prompt. TangoFlux pads the
            empty prompt to the length of the caption, and attends to the padding. Zeros until it is set.
    """

    padding: Tensor

    @register_to_config
    def __init__(self, text_width: int = 1024, max_seconds: float = 30, latent_frames: int = 645) -> None:
        super().__init__()
        self.pooled = nn.Sequential(nn.Linear(text_width, text_width), nn.ReLU())
        self.duration = StableAudioNumberConditioner(text_width, 0, max_seconds)
        self.register_buffer("padding", torch.zeros(text_width))

    def forward(self, embedding: Tensor, mask: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor]:
        """Project texts and durations.

        Args:
            embedding: (B, tokens, text_width) of the captions.
            mask: (B, tokens) bool, True where there is a token.
            seconds: (B,) durations.

        Returns:
            The pooled text (B, text_width), of the mean over the tokens, and the durations (B, 1, text_width).
        """
        weights = mask.to(embedding.dtype)[..., None]
        mean = (embedding * weights).sum(1) / weights.sum(1).clamp_min(1)
        return self.pooled(mean), self.duration(seconds)
