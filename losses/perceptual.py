"""How differently a network hears two sounds, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from consistency_tta.contracts import AudioOutput, AudioTextEncoder, Loss
from consistency_tta.resample import Resample


class PerceptualLoss(Loss):
    """Squared distance between unit vectors of channels, at each place and in each layer of an encoder's network.

    Where :class:`consistency_tta.losses.CLAPLoss` compares one vector a sound, which is easily led astray, this asks
    that what is heard when and in which band is heard alike.

    Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (LPIPS), 2018,
    https://arxiv.org/abs/1801.03924, eq. 1, with equal weights of channels and layers; beside a discriminator as in
    Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022,
    https://arxiv.org/abs/2112.10752, section 3.1.

    Args:
        encoder: one with ``audio_features``, such as :class:`consistency_tta.components.clap.TransformersClap`.
    """

    noise_weighted = False
    encoder: AudioTextEncoder

    def __init__(self, encoder: AudioTextEncoder) -> None:
        super().__init__()
        # Not by attribute: that would register its weights.
        self.__dict__["encoder"] = encoder.eval().requires_grad_(False)
        self._resamplers: dict[int, Resample] = {}

    def forward(self, out: AudioOutput) -> Tensor:
        """Values (B,) in [0, 4]."""
        made = self.features(out.student_waveform, out.sample_rate)
        with torch.no_grad():
            wanted = self.features(out.target_waveform, out.sample_rate)
        layers = [(ours - theirs).square().sum(1).flatten(1).mean(1) for ours, theirs in zip(made, wanted, strict=True)]
        return torch.stack(layers).mean(0)

    def features(self, waveform: Tensor, sample_rate: int) -> list[Tensor]:
        """Waveform (B, samples) at any rate -> of each layer unit vectors (B, channels, ...)."""
        if sample_rate not in self._resamplers:
            self._resamplers[sample_rate] = Resample(sample_rate, self.encoder.sample_rate)
        # In half precision, resampling would add noise.
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = self._resamplers[sample_rate].to(waveform.device)(waveform.float())
        return [F.normalize(layer.float(), dim=1) for layer in self.encoder.audio_features(waveform)]

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> PerceptualLoss:
        self.encoder._apply(fn, recurse)
        return super()._apply(fn, recurse)
