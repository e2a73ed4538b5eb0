"""Consistency distillation of a guided latent diffusion teacher: stage 2, and with audio-space losses stage 3."""

from __future__ import annotations

from typing import cast

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from consistency_tta.components.guidance import GuidanceEmbedding
from consistency_tta.components.unet import UNetDenoiser, student_unet
from consistency_tta.contracts import (
    Batch,
    Conditioning,
    DistillationOutput,
    Loss,
    Solver,
    TextEmbedding,
    TimeGrid,
    Weighting,
)
from consistency_tta.diffusion.denoise import CFGDenoiser
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.solve import Heun
from consistency_tta.diffusion.weighting import Uniform
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training.base import Optimization
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.latents import LatentTraining
from consistency_tta.training.randomness import BatchRandomness
from consistency_tta.training.weighted import WeightedLosses


class ConsistencyDistillation(LatentTraining):
    """Trains a student f(z_t, t, w) to map every point of the guided teacher's trajectories to their end.

    Sources: Bai et al., "ConsistencyTTA: Accelerating Diffusion-Based Text-to-Audio Generation with Consistency
    Distillation", 2024, https://arxiv.org/abs/2309.10740, section 3; Song et al., "Consistency Models", 2023,
    https://arxiv.org/abs/2303.01469, algorithm 2.

    With z_t a noisy latent and z_s the teacher's guided solver step from it, the student at (z_t, t) learns to equal
    its own moving average at (z_s, s); at s = 0 the target is z_0 itself, and neither teacher nor average is queried.

    Args:
        teacher: folder or hub id of the guided teacher.
        losses: loss plugins by name.
        loss_weights: weights of the losses by name; 1 where none is given.
        student: folder to start the student from, such as an earlier stage's; the teacher's weights if not given.
        prediction_type: what the student's network puts out. ``v_prediction`` starts the student of a v-predicting
            teacher (TANGO) at the teacher's own denoiser and meets the boundary condition f(z, 0) = z by itself;
            ``sample`` is the released ConsistencyTTA's.
        guidance_scale: w, fixed; or the two ends of the range it is drawn from, per example.
        solver: one step of the teacher.
        grid: where the times are taken from.
        num_steps: steps of the grid, N.
        weighting: of losses with ``noise_weighted``.
        target_decay: of the target network's moving average.
        average_decay: of the averaged weights, which validation and ``export`` use.
        optimization: optimizer and schedule.
        seed: of all random draws; that of ``seed_everything`` if not given.
    """

    def __init__(
        self,
        teacher: str,
        losses: dict[str, Loss],
        loss_weights: dict[str, float] | None = None,
        student: str | None = None,
        prediction_type: str = "v_prediction",
        guidance_scale: float | tuple[float, float] = (0.0, 6.0),
        solver: Solver | None = None,
        grid: TimeGrid | None = None,
        num_steps: int = 18,
        weighting: Weighting | None = None,
        target_decay: float = 0.95,
        average_decay: float = 0.999,
        optimization: Optimization = Optimization(),  # noqa: B008  # frozen
        seed: int | None = None,
    ) -> None:
        if num_steps < 2:
            raise ValueError(
                f"expected num_steps of at least 2, got {num_steps}: with a single step the target of pure noise is an "
                "unrelated recording, and the student would learn the mean of all"
            )
        parts = TextToAudioPipeline.from_pretrained(teacher)
        if parts.config["distilled"]:
            raise ValueError(
                f"expected a diffusion teacher, but {teacher} is a one-query student: give it as `student`"
            )
        guided = CFGDenoiser(parts.denoiser, _empty_prompt(parts))
        super().__init__(parts, optimization, seed, text=parts.text, teacher=guided)
        self.guidance_range = guidance_range(guidance_scale)
        self.losses = WeightedLosses(losses, loss_weights)
        self.solver = solver or Heun()
        self.weighting = weighting or Uniform()
        self.schedule = parts.denoiser.schedule
        self.times = (grid or UniformGrid())(self.schedule, num_steps).float()

        start = parts if student is None else TextToAudioPipeline.from_pretrained(student)
        start.require("unet", "scheduler")
        if student is not None and start.scheduler.config.prediction_type != prediction_type:
            raise ValueError(
                f"the student in {student} puts out {start.scheduler.config.prediction_type}, but prediction_type is "
                f"{prediction_type}: set prediction_type to {start.scheduler.config.prediction_type}"
            )
        if student is None and prediction_type not in (start.scheduler.config.prediction_type, "sample"):
            own = start.scheduler.config.prediction_type
            raise ValueError(
                f"the teacher puts out {own}, so its weights are no start for a student of {prediction_type}: set "
                f"prediction_type to {own}, or to sample, as the released ConsistencyTTA"
            )
        features = start.guidance_embedding or GuidanceEmbedding()
        unet = start.unet if start.guidance_embedding else student_unet(start.unet, features)
        self.student = UNetDenoiser(unet.requires_grad_(True), self.schedule, prediction_type, features)
        self.target = ExponentialMovingAverage(self.student, target_decay)
        self.average = ExponentialMovingAverage(self.student, average_decay, warm_up=True)
        scheduler = DDIMScheduler.from_config(parts.scheduler.config, prediction_type=prediction_type)
        # Not registered: the networks among them are in `frozen`.
        self.parts = {name: getattr(parts, name) for name in ("mel", "vae", "vocoder", "text_encoder", "tokenizer")}
        self.parts |= {"scheduler": scheduler}

    @property
    def latent_size(self) -> torch.Size:
        """(T, F) of the latents that the student generates."""
        return torch.Size(self.student.unet.config.sample_size)

    def trained(self) -> nn.Module:
        """The student."""
        return self.student

    def averages(self) -> tuple[ExponentialMovingAverage, ExponentialMovingAverage]:
        """The target network and the evaluation average."""
        return self.target, self.average

    def loss(self, batch: Batch, randomness: BatchRandomness) -> Tensor:
        """One step of consistency distillation."""
        z_0 = self.latents(batch, randomness)
        index = randomness.integers(len(self.times) - 1, len(batch))
        t, s = randomness.send(self.times[index]), randomness.send(self.times[index + 1])
        noisy_rows = randomness.send(self.times[index + 1].nonzero()[:, 0])
        low, high = self.guidance_range
        w = randomness.send(low + (high - low) * randomness.uniform(len(batch)))
        conditioning = Conditioning(self.embed(batch), w)

        z_t = self.noisy(z_0, randomness.normal_like(z_0), t)
        target_latent = self.target_latent(z_0, z_t, t, s, conditioning, noisy_rows)
        student = self.student if self.trainer.training else cast(UNetDenoiser, self.average.module)
        student_latent = student(z_t, t, conditioning)

        out = DistillationOutput(student_latent, target_latent, z_0, t, s, w, batch, self.frozen.codec)
        losses = self.losses(out, self.weighting(out.t, self.schedule))
        self.log_losses(losses, len(batch))
        return losses["loss"]

    def noisy(self, z_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """z_t (B, C, T, F); at the top step pure noise, since that is what generation starts from."""
        top = expand(t == self.schedule.num_train_timesteps, z_0)
        return torch.where(top, self.schedule.prior(epsilon), self.schedule.add_noise(z_0, epsilon, t))

    @torch.no_grad()
    def target_latent(
        self, z_0: Tensor, z_t: Tensor, t: Tensor, s: Tensor, conditioning: Conditioning, noisy_rows: Tensor
    ) -> Tensor:
        """What the student should put out (B, C, T, F).

        Args:
            z_0, z_t: (B, C, T, F).
            t, s: (B,).
            conditioning: for B examples.
            noisy_rows: int64 positions of the examples with s > 0; looking for them here would wait for the device.
        """
        if len(noisy_rows) == 0:
            return z_0
        some, s = conditioning.rows(noisy_rows), s[noisy_rows]
        z_s = self.solver(self.frozen.teacher, z_t[noisy_rows], t[noisy_rows], s, some)
        return z_0.index_copy(0, noisy_rows, self.target.module(z_s, s, some))

    @torch.no_grad()
    def embed(self, batch: Batch) -> TextEmbedding:
        """Embeddings of the batch's captions."""
        return batch.text or self.frozen.text(batch.captions)

    def pipeline(self) -> TextToAudioPipeline:
        """The student with averaged weights."""
        student = cast(UNetDenoiser, self.average.module)
        return TextToAudioPipeline(
            unet=student.unet,
            guidance_embedding=student.guidance_embedding,
            distilled=True,
            guidance_range=list(self.guidance_range),
            **self.parts,
        )


def guidance_range(guidance_scale: float | tuple[float, float]) -> tuple[float, float]:
    """The two ends of the guidance scale; equal ones if it is fixed."""
    low, high = guidance_scale if isinstance(guidance_scale, tuple | list) else (guidance_scale, guidance_scale)
    if not 0 <= low <= high:
        raise ValueError(f"expected a guidance_scale of at least 0, or a range [low, high], got {guidance_scale}")
    return float(low), float(high)


def _empty_prompt(parts: TextToAudioPipeline) -> TextEmbedding:
    """The embedding of no caption, computed once."""
    with torch.no_grad():
        return parts.text.eval()([""])
