"""Consistency training: the student learns from data alone that all points of a trajectory have the same end."""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import Networks, Objective, Prediction, Step, Weighting
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.solve import transfer
from consistency_tta.diffusion.weighting import InverseGap
from consistency_tta.training.distillation.objectives.consistency_pairs import ConsistencyPairs, TighteningPairs
from consistency_tta.training.distillation.objectives.times import LogNormalTimes


class ConsistencyTraining(Objective):
    """The student returns the same at two noise levels of one clip and one noise, where the lower one is held fixed.

        z_t = alpha_t z_0 + sigma_t epsilon,    z_s = alpha_s z_0 + sigma_s epsilon
        target = f(z_s, s, w) without gradients;  z_0 where s = 0

    There is no teacher: the student starts as a diffusion model, at pairs so wide that it learns to denoise, and
    becomes a consistency model as the pairs get narrower. All w then have the same target, so guidance is not learnt;
    it has the quality of unguided generation. With ``guided``, z_s lies on the guided teacher's trajectory instead:
    in the direction of its estimate of z_0, which is consistency distillation by DDIM, without a grid.

        z_s = DDIM(teacher, z_t, t, s, w)

    Use ``LatentPseudoHuberLoss`` for the papers' metric.

    Sources: Song and Dhariwal, "Improved Techniques for Training Consistency Models", 2023,
    https://arxiv.org/abs/2310.14189; Geng, Pokle, Luo, Lin, Kolter, "Consistency Models Made Easy", 2024,
    https://arxiv.org/abs/2406.14548, section 3 (ECT).

    Args:
        times: which t are drawn; log-normal sigma / alpha if not given.
        pairs: which s belongs to t; ECT's, which tighten, if not given.
        guided: whether the direction is the guided teacher's. That costs one query of the teacher.
        target_ema_decay: of a moving average of the student as target; the student itself if None, as in the papers.
        weighting: of losses with ``noise_weighted``; :class:`~consistency_tta.diffusion.weighting.InverseGap` if not
            given.
    """

    def __init__(
        self,
        times: LogNormalTimes | None = None,
        pairs: ConsistencyPairs | None = None,
        guided: bool = False,
        target_ema_decay: float | None = None,
        weighting: Weighting | None = None,
    ) -> None:
        super().__init__()
        self.times, self.pairs = times or LogNormalTimes(), pairs or TighteningPairs()
        self.needs_teacher = guided
        self.target_ema_decay = target_ema_decay
        self.weighting = weighting or InverseGap()

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """Query the student at t, and the target at s."""
        z_0, conditioning = step.clean_latent, step.conditioning
        t, s = self.pairs(self.times(step), step.schedule, step.global_step if step.training else None)
        epsilon = step.rng.normal_like(z_0)
        z_t = step.add_noise(z_0, epsilon, t)
        # First: weights that autocast converts without gradients are kept, and used again with gradients.
        student = networks.student(z_t, t, conditioning)
        target_network = networks.student if self.target_ema_decay is None else networks.target
        assert target_network is not None  # `target_ema_decay`
        with torch.no_grad():
            end, z_s = self.lower_end(step, networks, z_t, t, s, epsilon)
            # No network is defined at s = 0; a query at t, which is not used, saves looking for these examples.
            noisy = expand(s > 0, z_t)
            at_s = target_network(torch.where(noisy, z_s, z_t), torch.where(s > 0, s, t), conditioning)
        return Prediction(student, torch.where(noisy, at_s, end), z_0, t, s)

    def lower_end(
        self, step: Step, networks: Networks, z_t: Tensor, t: Tensor, s: Tensor, epsilon: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The clean latent that z_t is led to, and z_s on the way, both (B, C, *)."""
        if not self.needs_teacher:
            return step.clean_latent, step.add_noise(step.clean_latent, epsilon, s)
        assert networks.teacher is not None
        end = networks.teacher(z_t, t, step.conditioning)
        return end, transfer(step.schedule, z_t, end, t, s).to(z_t.dtype)
