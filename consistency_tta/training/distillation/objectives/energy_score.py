"""Energy score: several samples of each caption, near its recording and apart from each other."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from consistency_tta.contracts import Networks, Prediction, Step
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.objectives.energy import EnergyObjective
from consistency_tta.training.distillation.objectives.teacher_features import TeacherFeatures


class EnergyScore(EnergyObjective):
    """The student's samples x, x' of a caption are distributed like its recordings y, of which the batch has one.

        S = 2 E |phi(x) - phi(y)|^beta - E |phi(x) - phi(x')|^beta

    estimated without bias by m samples of the same caption and guidance scale from independent noise. S is a strictly
    proper scoring rule: it is least for the distribution of the caption's recordings, and for no other; it does not
    depend on the batch size. The second term keeps the samples apart; without it all would be the recordings' median.
    phi takes the latents' values, or the frozen teacher's features of them; distances are root mean squares.

    A caption with a single recording has that recording as its distribution. Where most have, prefer
    ``EnergyDistance``, which compares across captions.

    Passes a step: m of the student; with ``features`` m + 1 of the teacher, m of them with a gradient.

    Sources: Gneiting and Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", 2007,
    https://doi.org/10.1198/016214506000001437, section 4.2 (there negative, and half of S); De Bortoli et al.,
    "Distributional Diffusion Models with Scoring Rules", 2025, https://arxiv.org/abs/2502.02483 (denoisers trained by
    it); Huang et al., "Fast Text-to-Audio Generation with One-Step Sampling via Energy-Scoring and Auxiliary Contextual
    Representation Distillation", 2026, https://arxiv.org/abs/2605.00329 (text to audio, there for the tokens of an
    autoregressive model). Of the last two only abstracts and summaries were read.

    Args:
        features: blocks of the teacher in which distances are taken; the latents' own values if not given.
        samples: m of each caption, at least 2.
        beta: power of the distance, in (0, 2).

    Raises:
        ConfigurationError: if a number cannot be right, or the teacher has no such block.
    """

    def __init__(self, features: TeacherFeatures | None = None, samples: int = 2, beta: float = 1.0) -> None:
        super().__init__(features, beta)
        if samples < 2:
            raise ConfigurationError(f"expected at least 2 samples of each caption, to compare them, got {samples}")
        self.samples = samples

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """The first sample of each caption is shared with other objectives."""
        latents = [step.generate(networks).latent]
        latents += [self.further(step, networks) for _ in range(self.samples - 1)]
        embed = self.embedding(step, networks, one_for_all=False)
        with torch.no_grad():
            real = embed(step.clean_latent)
        return Prediction(losses={"energy": self.score([embed(latent) for latent in latents], real)})

    def score(self, made: list[list[Tensor]], real: list[Tensor]) -> Tensor:
        """S by row (B,), of m samples and the recordings: vectors (B, n) in each space."""
        near = torch.stack([self.row_distance(one, real) for one in made]).mean(0)
        apart = torch.stack([self.row_distance(one, other) for one, other in combinations(made, 2)]).mean(0)
        return 2 * near - apart

    def further(self, step: Step, networks: Networks) -> Tensor:
        """One more sample (B, C, *) of each caption, from noise of its own."""
        epsilon, top = step.rng.normal_like(step.clean_latent), step.generate(networks).t
        second_time = {"s": torch.zeros_like(top)} if step.flow_map else {}
        with torch.set_grad_enabled("student" in step.active and torch.is_grad_enabled()):
            return networks.student(step.add_noise(epsilon, epsilon, top), top, step.conditioning, **second_time)
