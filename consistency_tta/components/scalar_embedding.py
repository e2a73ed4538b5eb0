"""Scalars, such as the guidance scale, as features that a network reads."""

from __future__ import annotations

import math

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor


class ScalarEmbedding(ModelMixin, ConfigMixin):
    """Frozen random Fourier features of a scalar x: [sin(2 pi x f), cos(2 pi x f)].

    A network reads the guidance scale w, and a flow map's second time s / T, by such features.

    Source: Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains",
    2020, https://arxiv.org/abs/2006.10739; used for w by Meng et al., "On Distillation of Guided Diffusion Models",
    2023, https://arxiv.org/abs/2210.03142, and by ConsistencyTTA.

    Args:
        num_frequencies: half the number of features.
        scale: standard deviation of the frequencies f. At 0.25 the features of neighbouring w differ smoothly
            over the usual range 0 to 6.
        log: whether the features are of log x; the released ConsistencyTTA's are of w itself. Any x below
            :attr:`smallest` is then read as that.
    """

    frequencies: Tensor
    #: For ``log`` only. Not an error, which would have to wait for the device at every query. Guidance being linear in
    #: w, 0.001 has the effect of 0, and students trained on 0 <= w <= 6 have met it, unlike the least float above 0.
    smallest = 1e-3

    @register_to_config
    def __init__(self, num_frequencies: int = 64, scale: float = 0.25, log: bool = False) -> None:
        super().__init__()
        # A generator of its own: two untrained students of one width read w alike, whatever the global seed.
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("frequencies", torch.randn(num_frequencies, generator=generator) * scale)

    @property
    def num_features(self) -> int:
        """Width of the features."""
        return 2 * self.config["num_frequencies"]

    def forward(self, scalar: Tensor) -> Tensor:
        """Features (B, 2 num_frequencies) of scalars (B,)."""
        value = scalar.float()
        if self.config["log"]:
            value = value.clamp_min(self.smallest).log()
        phase = 2 * math.pi * value[:, None] * self.frequencies[None].float()
        return torch.cat([phase.sin(), phase.cos()], dim=-1)
