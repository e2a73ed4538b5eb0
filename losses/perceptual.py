"""How differently a network hears two sounds, layer by layer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from consistency_tta.contracts import AudioEncoder, AudioOutput
from consistency_tta.losses.encoder import EncoderLoss


class PerceptualLoss(EncoderLoss):
    """Squared distance between unit vectors of channels, at each place and in each layer of an encoder's network.

    Where :class:`consistency_tta.losses.CLAPLoss` compares one vector a sound, which is easily led astray, this asks
    that what is heard when and in which band is heard alike.

    Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (LPIPS), 2018,
    https://arxiv.org/abs/1801.03924, eq. 1, with equal weights of channels and layers; beside a discriminator as in
    Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022,
    https://arxiv.org/abs/2112.10752, section 3.1.

    Args:
        encoder: one with ``layer_features``, such as :class:`consistency_tta.components.clap.TransformersClap`.
        skip: layers left out at the beginning, whose features are near to the spectrogram: a distance between them
            blurs what cannot be predicted, such as the grain of rain.
    """

    def __init__(self, encoder: AudioEncoder, skip: int = 0) -> None:
        super().__init__(encoder)
        if not encoder.has_layer_features:
            raise ValueError(
                f"expected an encoder with layer_features, got {type(encoder).__name__}, which has none: take "
                "TransformersClap, which reads laion_clap's checkpoints, too"
            )
        if skip < 0:
            raise ValueError(f"expected skip of at least 0, got {skip}")
        self.skip = skip

    def forward(self, out: AudioOutput) -> Tensor:
        """Values (B,) in [0, 4]."""
        made = self.features(out.student_waveform, out.sample_rate)
        with torch.no_grad():
            wanted = self.features(out.target_waveform, out.sample_rate)
        layers = [(ours - theirs).square().sum(1).flatten(1).mean(1) for ours, theirs in zip(made, wanted, strict=True)]
        return torch.stack(layers).mean(0)

    def features(self, waveform: Tensor, sample_rate: int) -> list[Tensor]:
        """Waveform (B, samples) at any rate -> of each layer unit vectors (B, channels, ...)."""
        layers = self.encoder.layer_features(waveform.float(), sample_rate)[self.skip :]
        if not layers:
            raise ValueError(f"expected an encoder of more than {self.skip} layers, which are skipped: set skip lower")
        return [F.normalize(layer.float(), dim=1) for layer in layers]
