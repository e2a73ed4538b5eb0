"""Guidance distillation: two queries of a teacher become one of a student that reads the guidance scale (stage 1)."""

from __future__ import annotations

import torch

from consistency_tta.contracts import Networks, Objective, Prediction, Schedule, Step, Weighting
from consistency_tta.diffusion.guidance import CFGDenoiser
from consistency_tta.diffusion.weighting import MinSNR
from consistency_tta.runtime.errors import ModelFolderError


class GuidanceDistillation(Objective):
    """The student's estimate of z_0 equals the guided teacher's at uniformly drawn noise levels.

        target = teacher(z_t, t, w),    t uniform on the schedule's discrete times

    The student remains a diffusion model, to be sampled in many steps at half the teacher's queries. As the `teacher`
    of consistency distillation it halves the teacher's cost; as its `student` it is the paper's start.

    Sources: Bai et al., "ConsistencyTTA: Accelerating Diffusion-Based Text-to-Audio Generation with Consistency
    Distillation", 2024, https://arxiv.org/abs/2309.10740, section 3; Meng et al., "On Distillation of Guided Diffusion
    Models", 2023, https://arxiv.org/abs/2210.03142, section 3.1.

    Args:
        weighting: of losses with ``noise_weighted``. ``MinSNR`` if not given, which for the squared error of z_0 is the
            paper's weight min(SNR, 5) / (SNR + 1) of the squared error of v.
    """

    one_query = False

    def __init__(self, weighting: Weighting | None = None) -> None:
        super().__init__()
        self.weighting = weighting or MinSNR()

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """Refuse a teacher that is guided in one query already."""
        if not isinstance(networks.teacher, CFGDenoiser):
            raise ModelFolderError(
                "expected a teacher that is guided in two queries, but this one needs only one: give the teacher it "
                "was distilled from"
            )

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """Query teacher and student once, at the same z_t, t and w."""
        assert networks.teacher is not None  # `needs_teacher`
        z_0, rng = step.clean_latent, step.rng
        t = rng.to_device(1.0 + rng.integers(step.schedule.num_train_timesteps, len(step)))
        conditioning = step.conditioning
        z_t = step.add_noise(z_0, rng.normal_like(z_0), t)
        with torch.no_grad():
            target = networks.teacher(z_t, t, conditioning)
        return Prediction(networks.student(z_t, t, conditioning), target, z_0, t, t)
