"""Distance between the outputs of an encoder's layers for two sounds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from consistency_tta.contracts import AudioEncoder, AudioOutput
from consistency_tta.losses.encoder import EncoderLoss
from consistency_tta.runtime.errors import ConfigurationError


class PerceptualLoss(EncoderLoss):
    """Squared distance between unit vectors of channels, at each place and in each layer of an encoder's network.

    :class:`consistency_tta.losses.CLAPLoss` compares one vector for each sound, which training can easily fool. This
    loss compares layers, which also say when, and in which band, something sounds.

    Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (LPIPS), 2018,
    https://arxiv.org/abs/1801.03924, eq. 1, with equal weights of channels and layers; together with a discriminator as
    in Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022,
    https://arxiv.org/abs/2112.10752, section 3.1.

    Args:
        encoder: one with ``layer_features``, such as :class:`consistency_tta.components.clap.TransformersClap`.
        skip: number of first layers that are left out. Their outputs are close to the spectrogram, and a distance
            between them blurs what cannot be predicted, such as the noise of rain.

    Raises:
        ConfigurationError: the encoder has no ``layer_features``, or ``skip`` leaves none of its layers.
    """

    def __init__(self, encoder: AudioEncoder, skip: int = 0) -> None:
        super().__init__(encoder)
        if not encoder.has_layer_features:
            raise ConfigurationError(
                f"expected an encoder with layer_features, got {type(encoder).__name__}, which has none: take "
                "TransformersClap, which reads laion_clap's checkpoints, too"
            )
        if skip < 0:
            raise ConfigurationError(f"expected skip of at least 0, got {skip}")
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
            raise ConfigurationError(
                f"expected an encoder of more than {self.skip} layers, which are skipped: set skip lower"
            )
        return [F.normalize(layer.float(), dim=1) for layer in layers]
