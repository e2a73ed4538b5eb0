"""The anchor: the student's samples stay near those of the student that the training starts from."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from consistency_tta.contracts import Networks, Objective, Prediction, Schedule, Step
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.runtime.shared_copies import copy_module
from consistency_tta.training.ema import copyable


class Anchor(Objective):
    """Squared distance between what the student and its frozen start generate from the same noise and conditioning.

        x = student(z_T, T, w)        x_start = start(z_T, T, w)        distance = mean (x - x_start)^2

    A reward such as a CLAP score is fooled by few sounds that it likes; the distance keeps a sample of each noise, and
    with them the diversity. Where a sample is perturbed by Gaussian noise of variance v per element, KL(student ||
    start) given the noise is distance / (2 v) per element, so this is the KL term of fine-tuning by reinforcement.

    Loss plugins compare the student's samples with the batch's clean latents, which have the same captions but other
    noise: losses of sound, such as ``CLAPLoss`` and ``AdversarialLoss``, fit; losses of latents do not. Alone, this is
    fine-tuning by a reward at one query of the student and one of its start a step, without a teacher. In a
    ``CombinedObjective`` with an objective that has latents it adds its distance only.

    Sources: Ziegler et al., "Fine-Tuning Language Models from Human Preferences", 2019,
    https://arxiv.org/abs/1909.08593, eq. 2 (reward less KL to the start); Fan et al., "DPOK: Reinforcement Learning for
    Fine-tuning Text-to-Image Diffusion Models", 2023, https://arxiv.org/abs/2305.16381, section 4.2 (KL of the Gaussian
    steps of diffusion models).
    """

    needs_teacher = False

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """Copy the student as it starts. As a resumed run reads it from its folder again, checkpoints do not have it.

        Weights that are not trained, such as those that LoRA adapts, are shared.
        """
        student = cast(nn.Module, networks.student)
        shared = {id(parameter): parameter for parameter in student.parameters() if not parameter.requires_grad}
        self.frozen = Frozen(start=copy_module(copyable(student), shared))

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """The samples of both; losses ``distance`` (B,)."""
        made = step.generate(networks)
        z_t = step.add_noise(made.epsilon, made.epsilon, made.t)
        second_time = {"s": torch.zeros_like(made.t)} if step.flow_map else {}
        with torch.no_grad():
            start = self.frozen.start(z_t, made.t, step.conditioning, **second_time)
        losses = {"distance": (made.latent - start).square().flatten(1).mean(1)}
        if "student" not in step.active:
            return Prediction(losses=losses)
        z_0, s = step.clean_latent, torch.zeros_like(made.t)
        return Prediction(made.latent, z_0, z_0, made.t, s, losses, latents_optional=True)
