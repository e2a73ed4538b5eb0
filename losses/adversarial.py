"""A discriminator that learns with the generator and scores its sounds: textures that no distance can teach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from consistency_tta.contracts import AudioOutput, Loss, Optimization
from consistency_tta.runtime.errors import ConfigurationError


class AdversarialLoss(Loss):
    """Hinge losses of discriminator and generator, and feature matching.

    Discriminator and generator descend in the same step: each sees the other as a constant. The discriminator's weights
    are a parameter group of their own, with the settings of ``optimization``, and are saved in checkpoints.

    Sources: Lim and Ye, "Geometric GAN", 2017, https://arxiv.org/abs/1705.02894, eqs. 11 and 12; Kumar et al.,
    "MelGAN", 2019, https://arxiv.org/abs/1910.06711, eq. 4; Défossez et al., "High Fidelity Neural Audio Compression"
    (EnCodec), 2022, https://arxiv.org/abs/2210.13438, eq. 2 (features relative to their size).

    Args:
        discriminator: waveforms (B, samples), or mels (B, frames, bins), to the activations of each resolution, the
            logits last, as :class:`consistency_tta.components.discriminator.SpectrogramDiscriminator`.
        adversarial_weight: of the generator's hinge loss.
        feature_weight: of feature matching.
        of: ``waveform`` or ``mel``: what the discriminator scores.
        optimizer: settings for the discriminator; the generator's if not given.

    Raises:
        ConfigurationError: if ``of`` is something else.
    """

    noise_weighted = False
    training_only = True

    def __init__(
        self,
        discriminator: nn.Module,
        adversarial_weight: float = 1.0,
        feature_weight: float = 2.0,
        of: Literal["waveform", "mel"] = "waveform",
        optimizer: Optimization | None = None,
    ) -> None:
        super().__init__()
        if of not in ("waveform", "mel"):
            raise ConfigurationError(f"expected of to be 'waveform' or 'mel', got {of!r}")
        self.discriminator = discriminator
        self.adversarial_weight = adversarial_weight
        self.feature_weight = feature_weight
        self.of = of
        self.optimizer = optimizer
        self._scalars: dict[str, Tensor] = {}

    def forward(self, out: AudioOutput) -> Tensor:
        """The sum of both players' losses, a mean over the batch, for each example (B,)."""
        made, real = (
            (out.student_waveform, out.target_waveform) if self.of == "waveform" else (out.student_mel, out.target_mel)
        )
        scores_real_fake = self.discriminator(torch.cat([real, made.detach()]))
        discriminator = torch.stack([_hinge(resolution[-1]) for resolution in scores_real_fake]).mean()

        with self._constant():
            scores_fake = self.discriminator(made)
        adversarial = torch.stack([-resolution[-1].mean() for resolution in scores_fake]).mean()
        feature = torch.stack(
            [
                F.l1_loss(ours, theirs) / theirs.abs().mean().clamp_min(1e-3)
                for resolution, both in zip(scores_fake, scores_real_fake, strict=True)
                for ours, theirs in ((o, b[: len(real)].detach()) for o, b in zip(resolution[:-1], both, strict=False))
            ]
        ).mean()
        self._scalars = {"adversarial": adversarial, "feature": feature, "discriminator": discriminator}
        total = discriminator + self.adversarial_weight * adversarial + self.feature_weight * feature
        return total.expand(len(made))

    def optimization(self) -> Optimization | None:
        """The discriminator's settings."""
        return self.optimizer

    def scalars(self) -> dict[str, Tensor]:
        """The unweighted parts: ``adversarial`` and ``feature`` of the generator, ``discriminator``."""
        return {name: value.detach() for name, value in self._scalars.items()}

    @contextmanager
    def _constant(self) -> Iterator[None]:
        """What is computed inside leaves no gradients on the discriminator's weights."""
        self.discriminator.requires_grad_(False)
        try:
            yield
        finally:
            self.discriminator.requires_grad_(True)


def _hinge(logits: Tensor) -> Tensor:
    """The discriminator's loss of logits (2 B, ...), recordings first."""
    real, fake = logits.chunk(2)
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
