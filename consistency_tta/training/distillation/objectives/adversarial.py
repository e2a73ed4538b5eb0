"""Adversarial distillation: the student's latents against recordings', as the frozen teacher's features see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from consistency_tta.components.denoiser_features import DenoiserFeatures
from consistency_tta.components.token_discriminator import TokenDiscriminator
from consistency_tta.contracts import (
    Conditioning,
    Denoiser,
    Learner,
    Networks,
    Objective,
    Optimization,
    Prediction,
    Schedule,
    Step,
)
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.objectives.times import UniformTimes


class AdversarialDistillation(Objective):
    """The student's samples x become like the recordings' latents z_0 of the same captions.

        hinge          discriminator  relu(1 - D(z_0)) + relu(1 + D(x))     student  -D(x)
        relativistic   discriminator  softplus(D(x) - D(z_0))               student  softplus(D(z_0) - D(x))
        contrastive    discriminator  softplus(D(z_0, another caption) - D(z_0)), times ``contrastive_weight``

    D scores z_t = alpha_t x + sigma_t epsilon by heads on the blocks of the frozen teacher's network, queried once (a
    teacher that is guided in two queries without guidance); t is uniform in ``time_range``. Recordings and samples are
    noised alike. The student learns what no solver of the teacher's ODE can give it: the distribution of the data, at
    any w.

    Sources: Sauer et al., "Fast High-Resolution Image Synthesis with Latent Adversarial Diffusion Distillation", 2024,
    https://arxiv.org/abs/2403.12015; Yin et al., "Improved Distribution Matching Distillation for Fast Image
    Synthesis", 2024, https://arxiv.org/abs/2405.14867, section 4.3; Novack et al., "Fast Text-to-Audio Generation with
    Adversarial Post-Training", 2025, https://arxiv.org/abs/2505.08175, eqs. 4 to 6 (relativistic, contrastive); Lin et
    al., "Diffusion Adversarial Post-Training for One-Step Video Generation", 2025, https://arxiv.org/abs/2501.08316,
    eq. 4 (approximate R1).

    Args:
        discriminator_optimization: the student's if not given.
        loss: ``hinge``, of each token, or ``relativistic``, of each block's mean.
        contrastive_weight: of telling right captions from the batch's others; one more pass of the teacher.
        penalty_weight: of the squared change of D when the recordings' z_t is perturbed by 1 %; one more pass.
        time_range: lowest and highest t, as shares of the top time.
        blocks: of the teacher, by name; all if not given.
        hidden: width of the heads.
        discriminator_steps: optimizer steps of the discriminator for each one of the student.
        warmup_steps: optimizer steps at the beginning in which the discriminator learns alone.

    Raises:
        ConfigurationError: if a number cannot be right, or a block is unknown.
    """

    #: Standard deviation of what perturbs z_t for the penalty.
    PERTURBATION = 0.01

    def __init__(
        self,
        discriminator_optimization: Optimization | None = None,
        loss: Literal["hinge", "relativistic"] = "relativistic",
        contrastive_weight: float = 0.0,
        penalty_weight: float = 0.0,
        time_range: tuple[float, float] = (0.05, 0.95),
        blocks: list[str] | None = None,
        hidden: int = 64,
        discriminator_steps: int = 1,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__()
        if loss not in ("hinge", "relativistic"):
            raise ConfigurationError(f"expected loss to be 'hinge' or 'relativistic', got {loss!r}")
        if discriminator_steps < 1 or warmup_steps < 0:
            raise ConfigurationError(
                f"expected discriminator_steps >= 1 and warmup_steps >= 0, got {discriminator_steps} and {warmup_steps}"
            )
        self.optimization = discriminator_optimization
        self.players: tuple[Callable[..., Tensor], Callable[..., Tensor]] = LOSSES[loss]
        self.contrastive_weight, self.penalty_weight = contrastive_weight, penalty_weight
        self.times, self.blocks, self.hidden = UniformTimes(*time_range), blocks, hidden
        self.discriminator_steps, self.warmup_steps = discriminator_steps, warmup_steps

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """Heads for the teacher's blocks, as wide as they are."""
        features = self.features(networks)
        self.discriminator = TokenDiscriminator(features.channels, features.backbone.text_width, self.hidden)

    def learners(self) -> dict[str, Learner]:
        """The discriminator's heads."""
        return {"discriminator": Learner(self.discriminator, self.optimization)}

    def active(self, step: int) -> set[str]:
        """The discriminator always; the student at every ``discriminator_steps``-th step after the warm-up."""
        after, every = step - self.warmup_steps, self.discriminator_steps
        return {"discriminator", "student"} if after >= 0 and after % every == every - 1 else {"discriminator"}

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """The losses of both players; each is a constant to the other."""
        sample, condition = step.generate(networks).latent, step.conditioning
        t, rng = self.times(step), step.rng
        noise = rng.normal_like(sample)
        real = step.add_noise(step.clean_latent, rng.normal_like(sample), t)
        made = step.add_noise(sample, noise, t)
        features = self.features(networks)
        with torch.no_grad():
            parts = [(real, condition), (made, condition), *self.further(step, real)]
            seen = [features(z_t, t, asked) for z_t, asked in parts]
        logits = [self.discriminator(one, asked.text) for one, (_, asked) in zip(seen, parts, strict=True)]
        discriminate, deceive = self.players
        losses = {"discriminator": discriminate(logits[0], logits[1])}
        if self.contrastive_weight:
            losses["contrastive"] = self.contrastive_weight * _relativistic(logits[0], logits[2])
        if self.penalty_weight:
            change = [(a - b).square().mean(1) for a, b in zip(logits[0], logits[-1], strict=True)]
            losses["penalty"] = self.penalty_weight * torch.stack(change).mean(0) / self.PERTURBATION**2
        if "student" in step.active:
            with self.constant():
                own = self.discriminator(features(made, t, condition), condition.text)
                losses["adversarial"] = deceive([one.detach() for one in logits[0]], own)
        return Prediction(losses=losses)

    def further(self, step: Step, real: Tensor) -> Iterator[tuple[Tensor, Conditioning]]:
        """What else the discriminator scores: recordings with other captions, and perturbed ones."""
        if self.contrastive_weight:
            others = torch.arange(len(step), device=real.device).roll(1)
            text = step.conditioning.text.rows(others)
            yield real, replace(step.conditioning, text=text)
        if self.penalty_weight:
            yield real + self.PERTURBATION * step.rng.normal_like(real), step.conditioning

    def features(self, networks: Networks) -> DenoiserFeatures:
        """The teacher's blocks."""
        teacher: Denoiser | None = networks.teacher
        assert teacher is not None  # `needs_teacher`
        return DenoiserFeatures(teacher, self.blocks)

    @contextmanager
    def constant(self) -> Iterator[None]:
        """The discriminator passes gradients on and takes none."""
        self.discriminator.requires_grad_(False)
        try:
            yield
        finally:
            self.discriminator.requires_grad_(True)


def _blocks(values: Sequence[Tensor]) -> Tensor:
    """(B,): the mean over blocks of the mean over tokens."""
    return torch.stack([value.mean(1) for value in values]).mean(0)


def _relativistic(better: Sequence[Tensor], worse: Sequence[Tensor]) -> Tensor:
    """(B,): small where each block's mean logit is higher for the first."""
    pairs = zip(better, worse, strict=True)
    return torch.stack([F.softplus(low.mean(1) - high.mean(1)) for high, low in pairs]).mean(0)


#: (real, made) -> (B,) of the discriminator and of the student.
LOSSES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "hinge": (
        lambda real, made: _blocks([F.relu(1 - one) for one in real]) + _blocks([F.relu(1 + one) for one in made]),
        lambda real, made: -_blocks(made),
    ),
    "relativistic": (_relativistic, lambda real, made: _relativistic(made, real)),
}
