"""Consistency distillation of a guided latent diffusion teacher: stage 2, and with audio-space losses stage 3."""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import (
    Batch,
    Conditioning,
    DistillationOutput,
    Loss,
    Solver,
    TimeGrid,
    Weighting,
)
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.sample import sample_diffusion
from consistency_tta.diffusion.solve import Heun
from consistency_tta.diffusion.weighting import Uniform
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training.base import Optimization
from consistency_tta.training.distillation.discretization import DiscretizationSchedule
from consistency_tta.training.distillation.lora import LoRA
from consistency_tta.training.distillation.student import StudentTraining, load_teacher
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.step_rng import StepRNG


class ConsistencyDistillation(StudentTraining):
    """Trains a student f(z_t, t, w) to map every point of the guided teacher's trajectories to their end.

    Sources: Bai et al., "ConsistencyTTA: Accelerating Diffusion-Based Text-to-Audio Generation with Consistency
    Distillation", 2024, https://arxiv.org/abs/2309.10740, section 3; Song et al., "Consistency Models", 2023,
    https://arxiv.org/abs/2303.01469, algorithm 2.

    With z_t a noisy latent and z_s the teacher's guided solver step from it, the student at (z_t, t) learns to equal
    its own moving average at (z_s, s); at s = 0 the target is z_0 itself, and neither teacher nor average is queried.

    Args:
        teacher: folder or hub id of the guided teacher. One that was distilled to be guided in one query (see
            :class:`~consistency_tta.training.GuidanceDistillation`) is asked once a time, and costs half.
        losses: loss plugins by name.
        loss_weights: weights of the losses by name; 1 where none is given.
        student: folder to start the student from, such as an earlier stage's; the teacher's weights if not given.
        prediction_type: what the student's network puts out. ``v_prediction`` starts the student of a v-predicting
            teacher (TANGO) at the teacher's own denoiser and meets the boundary condition f(z, 0) = z by itself;
            ``sample`` is the released ConsistencyTTA's.
        guidance_scale: w, fixed; or the two ends of the range it is drawn from, per example.
        caption_dropout: share of examples trained without their caption, in [0, 1). For guidance on top of the
            student's: with a ``guidance_scale`` fixed at 1, the paper's direct guidance. ``CLAPLoss`` would pull these
            examples, too, to their captions: give it a ``text_weight`` of 0 then.
        solver: one step of the teacher.
        grid: where the times are taken from.
        num_steps: steps of the grid, N; or how N changes with the optimizer steps.
        terminal_fraction: share of the training examples at the top step t = T, the only one a one-query generation uses,
            beside those that fall there anyway.
        teacher_trajectory_fraction: share of the training examples at the top step whose target is the end of the teacher's whole
            trajectory from the same noise. Each costs ``teacher_steps`` steps of the solver.
        teacher_steps: steps of the teacher's whole trajectory, in training and for ``val/teacher_distance``; 0 for none.
        weighting: of losses with ``noise_weighted``.
        train_decoder: whether the losses of sound also train the autoencoder's decoder, through which the student is
            heard and exported. It starts at that of ``student``, if there is one, which stays as it is otherwise;
            targets keep the teacher's own.
        decoder_gradient_checkpointing: whether the decoders' inner values are computed again on the way back instead of kept:
            losses of sound then need less memory, and more time.
        crop_frames: mel frames that losses of sound see of a training example, cut at a random place; 0 for all.
        target_ema_decay: of the target network's moving average.
        ema_decay: of the averaged weights, which validation and ``export`` use.
        optimization: optimizer and schedule.
        seed: of all random draws; that of ``seed_everything`` if not given.
        lora: adapters to train instead of the whole U-Net; needs the extra ``lora``.
    """

    def __init__(
        self,
        teacher: str,
        losses: dict[str, Loss],
        loss_weights: dict[str, float] | None = None,
        student: str | None = None,
        prediction_type: str = "v_prediction",
        guidance_scale: float | tuple[float, float] = (0.0, 6.0),
        caption_dropout: float = 0.0,
        solver: Solver | None = None,
        grid: TimeGrid | None = None,
        num_steps: int | DiscretizationSchedule = 18,
        terminal_fraction: float = 0.0,
        teacher_trajectory_fraction: float = 0.0,
        teacher_steps: int = 18,
        weighting: Weighting | None = None,
        train_decoder: bool = False,
        decoder_gradient_checkpointing: bool = False,
        crop_frames: int = 0,
        target_ema_decay: float = 0.95,
        ema_decay: float = 0.999,
        optimization: Optimization = Optimization(),  # noqa: B008  # frozen
        seed: int | None = None,
        lora: LoRA | None = None,
    ) -> None:
        steps = DiscretizationSchedule(num_steps, num_steps, 1) if isinstance(num_steps, int) else num_steps
        if (
            min(terminal_fraction, teacher_trajectory_fraction) < 0
            or terminal_fraction + teacher_trajectory_fraction > 1
        ):
            raise ValueError(
                f"expected terminal_fraction and teacher_trajectory_fraction in [0, 1], together at most 1, got {terminal_fraction} and "
                f"{teacher_trajectory_fraction}"
            )
        if teacher_steps < 1 and (teacher_trajectory_fraction or teacher_steps < 0):
            raise ValueError(
                f"expected teacher_steps of at least {1 if teacher_trajectory_fraction else 0}, got {teacher_steps}: it is the "
                "number of solver steps to the end of the teacher's trajectory"
            )
        if train_decoder and all(loss.noise_weighted for loss in losses.values()):
            raise ValueError(
                f"train_decoder needs a loss of sound, with noise_weighted False, but the losses are {sorted(losses)}: "
                "add one, such as MelL2Loss, or leave train_decoder off"
            )
        parts = load_teacher(teacher, guidance_scale)
        start = parts if student is None else TextToAudioPipeline.from_pretrained(student)
        start.require("unet", "scheduler")
        _check_prediction_type(prediction_type, start, student)
        super().__init__(
            parts,
            start,
            prediction_type,
            losses=losses,
            loss_weights=loss_weights,
            weighting=weighting or Uniform(),
            guidance_scale=guidance_scale,
            caption_dropout=caption_dropout,
            train_decoder=train_decoder,
            decoder_gradient_checkpointing=decoder_gradient_checkpointing,
            crop_frames=crop_frames,
            ema_decay=ema_decay,
            optimization=optimization,
            seed=seed,
            lora=lora,
        )
        self.solver = solver or Heun()
        self.grid = grid or UniformGrid()
        self.num_steps = steps
        # All of them now: on a device the schedule would have to be waited for.
        self.times = {number: self.grid(self.schedule, number).float() for number in steps.all()}
        self.terminal_fraction, self.teacher_trajectory_fraction, self.teacher_steps = (
            terminal_fraction,
            teacher_trajectory_fraction,
            teacher_steps,
        )
        self.trajectory = self.grid(self.schedule, teacher_steps) if teacher_steps else None
        self.target = ExponentialMovingAverage(self.student, target_ema_decay)

    def emas(self) -> tuple[ExponentialMovingAverage, ...]:
        """The target network and the evaluation average."""
        return self.target, self.average

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        """One step of consistency distillation."""
        z_0 = self.latents(batch, rng)
        t, s, trajectory_rows = self.draw_times(len(batch), rng)
        noisy_rows = rng.to_device(s.nonzero()[:, 0])
        t, s = rng.to_device(t), rng.to_device(s)
        w = self.guidance_scales(len(batch), rng)
        conditioning = Conditioning(self.embed(batch, rng), w)

        epsilon = rng.normal_like(z_0)
        if len(trajectory_rows):
            rows = rng.to_device(trajectory_rows)
            z_0 = z_0.index_copy(0, rows, self.teacher_latent(epsilon[rows], conditioning.rows(rows)))
        z_t = self.noisy(z_0, epsilon, t)
        target_latent = self.target_latent(z_0, z_t, t, s, conditioning, noisy_rows)
        student_latent = self.current()(z_t, t, conditioning)

        sound = self.hearing.decoders(batch, rng, self.trainer.training)
        return self.compared(DistillationOutput(student_latent, target_latent, z_0, t, s, w, *sound))

    def draw_times(self, batch_size: int, rng: StepRNG) -> tuple[Tensor, Tensor, Tensor]:
        """Times t and s (B,), and the positions (int64) of examples that get a whole trajectory; all on the CPU.

        The latter have t = T and s = 0: z_0, which is the target there, is the end of the teacher's trajectory.
        """
        training = self.trainer.training
        # The last N outside training, so that all validations can be compared.
        times = self.times[self.num_steps(self.trainer.global_step) if training else self.num_steps.end]
        index = rng.integers(len(times) - 1, batch_size)
        if not training or not (self.terminal_fraction or self.teacher_trajectory_fraction):
            return times[index], times[index + 1], torch.empty(0, dtype=torch.long)
        share = rng.uniform(batch_size)
        index = torch.where(share < self.teacher_trajectory_fraction + self.terminal_fraction, 0, index)
        whole = share < self.teacher_trajectory_fraction
        return times[index], torch.where(whole, 0.0, times[index + 1]), whole.nonzero()[:, 0]

    @torch.no_grad()
    def teacher_latent(self, epsilon: Tensor, conditioning: Conditioning) -> Tensor:
        """The end (B, C, T, F) of the guided teacher's trajectories from noise epsilon (B, C, T, F)."""
        assert self.trajectory is not None  # __init__ asks for teacher_steps where they are needed
        return sample_diffusion(self.frozen.teacher, self.solver, self.trajectory, epsilon, conditioning)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The losses, and for the first batch how far the student's one query ends from the teacher's trajectory."""
        super().validation_step(batch, batch_idx)
        if batch_idx == 0 and self.teacher_steps:
            self.log_losses({"teacher_distance": self.teacher_distance(batch, self.rng(batch_idx))}, len(batch))

    def teacher_distance(self, batch: Batch, rng: StepRNG) -> Tensor:
        """Mean of |f(z_T, T, w) - teacher| / |teacher|, both from the same noise; 0 for a student without error."""
        shape = (len(batch), self.student.unet.config.in_channels, *self.latent_size)
        epsilon = rng.normal_like(torch.empty(shape, device=self.device))
        conditioning = Conditioning(self.embed(batch), self.guidance_scales(len(batch), rng))
        target = self.teacher_latent(epsilon, conditioning).flatten(1)
        top = torch.full((len(batch),), float(self.schedule.num_train_timesteps), device=self.device)
        student = self.current()(self.schedule.prior(epsilon), top, conditioning).flatten(1)
        return ((student - target).norm(dim=1) / target.norm(dim=1)).mean()

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

    def pipeline(self) -> TextToAudioPipeline:
        """The student with averaged weights, to be asked once."""
        return self.exported(distilled=True)


def _check_prediction_type(prediction_type: str, start: TextToAudioPipeline, student: str | None) -> None:
    """A diffusion model is a start for its own prediction type and for ``sample``, a student for its own alone."""
    own = start.scheduler.config.prediction_type
    if start.config["distilled"] and prediction_type != own:
        raise ValueError(
            f"the student in {student} puts out {own}, but prediction_type is {prediction_type}: set prediction_type "
            f"to {own}"
        )
    if prediction_type not in (own, "sample"):
        raise ValueError(
            f"{'the teacher' if student is None else student} puts out {own}, so its weights are no start for a "
            f"student of {prediction_type}: set prediction_type to {own}, or to sample, as the released ConsistencyTTA"
        )
