"""A discriminator that learns beside a generator, in the same step and by the same optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Adversary(nn.Module):
    """Hinge losses of discriminator and generator, and feature matching.

    Discriminator and generator descend at the same time rather than in turn: each sees the other as a constant, so that
    one optimizer, one backward pass and Lightning's automatic optimization (accumulation, clipping, precision) serve
    both.

    Sources: Lim and Ye, "Geometric GAN", 2017, https://arxiv.org/abs/1705.02894, eqs. 11 and 12; Kumar et al.,
    "MelGAN", 2019, https://arxiv.org/abs/1910.06711, eq. 4; Défossez et al., "High Fidelity Neural Audio Compression"
    (EnCodec), 2022, https://arxiv.org/abs/2210.13438, eq. 2 (features relative to their size).

    Args:
        discriminator: waveforms (B, samples), or mels (B, frames, bins), to activations, as
            :class:`consistency_tta.components.discriminator.SpectrogramDiscriminator`.
        adversarial_weight: of the generator's hinge loss.
        feature_weight: of feature matching.
    """

    def __init__(self, discriminator: nn.Module, adversarial_weight: float = 1.0, feature_weight: float = 2.0) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.adversarial_weight = adversarial_weight
        self.feature_weight = feature_weight

    def forward(self, made: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Scalars: ``loss``, of both; unweighted ``adversarial`` and ``feature`` of the generator, ``discriminator``.

        Args:
            made: the generator's waveforms or mels (B, ...), with gradients.
            real: those of recordings (B, ...).
        """
        judged = self.discriminator(torch.cat([real, made.detach()]))
        discriminator = torch.stack([self._hinge(resolution[-1]) for resolution in judged]).mean()

        with self._constant():
            convinced = self.discriminator(made)
        adversarial = torch.stack([-resolution[-1].mean() for resolution in convinced]).mean()
        feature = torch.stack(
            [
                F.l1_loss(ours, theirs) / theirs.abs().mean().clamp_min(1e-3)
                for resolution, both in zip(convinced, judged, strict=True)
                for ours, theirs in ((o, b[: len(real)].detach()) for o, b in zip(resolution[:-1], both, strict=False))
            ]
        ).mean()
        return {
            "loss": discriminator + self.adversarial_weight * adversarial + self.feature_weight * feature,
            "adversarial": adversarial.detach(),
            "feature": feature.detach(),
            "discriminator": discriminator.detach(),
        }

    @staticmethod
    def _hinge(verdicts: Tensor) -> Tensor:
        """Of verdicts (2 B, ...), recordings first."""
        real, made = verdicts.chunk(2)
        return F.relu(1 - real).mean() + F.relu(1 + made).mean()

    @contextmanager
    def _constant(self) -> Iterator[None]:
        """What is computed inside leaves no gradients on the discriminator's weights."""
        self.discriminator.requires_grad_(False)
        try:
            yield
        finally:
            self.discriminator.requires_grad_(True)
