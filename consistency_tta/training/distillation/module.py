"""Distillation of a guided teacher into a student that reads the guidance scale: one module for every objective."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, cast

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from consistency_tta.components.backbones import Backbone
from consistency_tta.contracts import (
    Batch,
    Conditioning,
    DistillationOutput,
    Learner,
    Loss,
    Networks,
    Objective,
    Optimization,
    Prediction,
    Step,
    TextEmbedding,
)
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.sampler import default_sampler
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.fingerprints import teacher_fingerprint
from consistency_tta.pipeline.guided import guided
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.kinds import require_kind
from consistency_tta.training.crop import check_crop_lengths, crop_latents
from consistency_tta.training.distillation.lora import SaveAdapter, merged
from consistency_tta.training.distillation.loss_decoders import DecodingConfig, LossDecoders
from consistency_tta.training.distillation.student import StudentConfig, build_student, scheduler_for
from consistency_tta.training.distillation.teacher import guidance_range, load_pipeline, load_teacher, to_bfloat16
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.encoded_data import check_trajectories
from consistency_tta.training.latents import LatentTraining, embed_with_dropout, sample_quietly
from consistency_tta.training.step_rng import VALIDATION_SEED, StepRNG
from consistency_tta.training.time_binned_losses import TimeBinnedLosses
from consistency_tta.training.weighted_losses import WeightedLosses


class Distillation(LatentTraining):
    """Trains a student by an objective, with any losses of latents and of sound.

    Args:
        teacher: folder or hub id of the guided teacher, or from Python the ``TextToAudioPipeline`` itself, whose
            networks are then used and frozen. It also brings the codec, the text encoder and the noise schedule. One
            that was distilled to be guided in one query (``GuidanceDistillation``) is queried once a time and costs
            half.
        objective: what the student learns, such as ``ConsistencyDistillation``.
        losses: loss plugins by name. They compare the objective's latents, or sounds decoded from them. An objective
            with losses of its own alone, such as ``DistributionMatching``, needs none.
        loss_weights: weights of the losses by name; 1 where none is given.
        student: where the student starts, what it reads and returns, LoRA.
        decoding: how losses of sound decode; whether the decoder is trained along.
        ema_decay: of the averaged weights, which validation and ``export`` use.
        optimization: optimizer and schedule of the student, and of whatever brings none of its own.
        seed: of all random draws; that of ``seed_everything`` if not given.
    """

    def __init__(
        self,
        teacher: str | Any,  # Any: a pipeline, whose class the command line would read as one to configure
        objective: Objective,
        losses: dict[str, Loss] | None = None,
        loss_weights: dict[str, float] | None = None,
        student: StudentConfig = StudentConfig(),  # noqa: B008  # frozen
        decoding: DecodingConfig = DecodingConfig(),  # noqa: B008  # frozen
        ema_decay: float = 0.999,
        optimization: Optimization = Optimization(),  # noqa: B008  # frozen
        seed: int | None = None,
    ) -> None:
        require_kind("objective", objective, Objective)
        require_kind("student", student, StudentConfig)
        losses = losses or {}
        require_kind("losses", losses, dict)
        for name, loss in losses.items():
            require_kind(f"the loss {name}", loss, Loss)
        if decoding.train_decoder and all(loss.noise_weighted for loss in losses.values()):
            raise ConfigurationError(
                f"train_decoder needs a loss of sound, with noise_weighted False, but the losses are {sorted(losses)}: "
                "add one, such as MelL2Loss, or leave train_decoder off"
            )
        parts = load_teacher(teacher, student.guidance_scale)
        start = parts if student.folder is None else load_pipeline(student.folder)
        frozen = {"teacher": guided(parts)} if objective.needs_teacher else {}
        super().__init__(parts, optimization, seed, text=parts.text, **frozen)
        self.earlier_stages = start.config.get("training") or ()
        self.schedule = parts.denoiser.schedule
        self.student = build_student(student, start, self.schedule, objective.second_time)
        self.lora, self.caption_dropout = student.lora, student.caption_dropout
        self.crop_lengths = student.crop_lengths
        check_crop_lengths(self.crop_lengths, self.student.frame_multiple, self.latent_shape[1])
        if self.crop_lengths and (sounds := [name for name, loss in losses.items() if not loss.noise_weighted]):
            raise ConfigurationError(f"expected losses of latents with crop_lengths, not of sound, got {sounds}")
        self.guidance_range = guidance_range(student.guidance_scale)
        self.average = ExponentialMovingAverage(self.student, ema_decay, warm_up=True)
        decay = objective.target_ema_decay
        self.target = None if decay is None else ExponentialMovingAverage(self.student, decay)
        self.objective = objective
        self.objective.build(self.networks(averaged=False), self.schedule)
        self.losses = WeightedLosses(losses, loss_weights)
        self.decoders = LossDecoders(self.frozen.codec, start.vae, self.latent_shape[1], decoding, ema_decay)
        names = [f"loss/{name}" for name in self.losses.names(training=False)]
        self.binned = TimeBinnedLosses(names, self.schedule.num_train_timesteps)
        # Not registered: the networks among them are in `frozen`.
        self.teacher_pipeline = parts if objective.needs_teacher else None
        self.parts: dict[str, Any] = {
            name: getattr(parts, name) for name in ("mel", "vae", "vocoder", "text_encoder", "tokenizer")
        }
        self.parts["audio_length_in_s"] = self.audio_length_in_s
        self.parts["scheduler"] = scheduler_for(parts.scheduler, self.student.prediction_type)
        self.parts["rewards"] = (parts.rewards | start.rewards | self.losses.rewards).to_dict()

    # The step, in the order of the diagram in docs/architecture.md.

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        """Encoders, objective (noise, teacher, student, target), losses."""
        step = self.step(batch, rng)
        prediction = self.objective(step, self.networks(averaged=not step.training))
        return self.compute_losses(step, prediction)

    def step(self, batch: Batch, rng: StepRNG) -> Step:
        """The batch's clean latents, and what else an objective draws and reads."""
        training, z_0 = self.trainer.training, self.latents(batch, rng)
        if training and self.crop_lengths:
            z_0 = crop_latents(z_0, self.crop_lengths, rng)

        def condition() -> Conditioning:
            low, high = self.guidance_range
            w = rng.to_device(low + (high - low) * rng.uniform(len(batch)))
            if batch.trajectory is not None:
                w = batch.trajectory.guidance_scale
            return Conditioning(self.embed(batch, rng), w, scalars=self.durations(z_0))

        return Step(
            batch,
            z_0,
            self.schedule,
            rng,
            self.trainer.global_step,
            training,
            frozenset(self.active(self.trainer.global_step)) if training else frozenset(self.learners()),
            condition,
            self.add_noise,
            self.objective.second_time,
            self.sharded is not None,
        )

    def networks(self, averaged: bool) -> Networks:
        """The networks that the objective queries; the student averaged in validation."""
        student = cast(Backbone, self.average.module) if averaged else self.student
        teacher = self.frozen.teacher if self.objective.needs_teacher else None
        target = None if self.target is None else cast(Backbone, self.target.module)
        return Networks(student, teacher, target)

    def add_noise(self, z_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """z_t (B, C, *); at the top time pure noise, since that is what generation starts from."""
        top = expand(t == self.schedule.num_train_timesteps, z_0)
        return torch.where(top, self.schedule.prior(epsilon), self.schedule.add_noise(z_0, epsilon, t))

    @torch.no_grad()
    def embed(self, batch: Batch, rng: StepRNG | None = None) -> TextEmbedding:
        """Embeddings of the batch's captions; in training, given random draws, some captions are dropped."""
        if rng is None or not self.caption_dropout or not self.trainer.training:
            return batch.text or self.frozen.text(batch.captions)
        unconditional = self.student.unconditional
        return embed_with_dropout(batch, self.frozen.text, self.caption_dropout, rng, unconditional, self.embed_empty)

    def compute_losses(self, step: Step, prediction: Prediction) -> Tensor:
        """The weighted sum of the losses, and the objective's own; logs each of them."""
        logged = {f"loss/{name}": value.mean() for name, value in prediction.losses.items()}
        parts = list(logged.values())
        if prediction.student_latent is not None and (self.losses.weights or not prediction.latents_optional):
            out = self.output(step, prediction)
            values = self.losses.values(out, step.training)
            if step.training and not logged:  # nor has the objective losses of its own
                self.losses.require_weight()
            weighting = prediction.weighting or getattr(self.objective, "weighting", None)
            combined = self.losses.combine(values, None if weighting is None else weighting(out.t, self.schedule))
            parts = [prediction.latent_weight * combined.pop("loss"), *parts]
            logged |= combined | self.losses.scalars(step.training)
            self.bin_by_time({f"loss/{name}": value for name, value in values.items()}, out.t)
        total = torch.stack(parts).sum()
        self.log_losses({"loss": total} | logged, len(step))
        return total

    def output(self, step: Step, prediction: Prediction) -> DistillationOutput:
        """What the loss plugins are given: the latents, and decoders for losses of sound."""
        fields = ("student_latent", "target_latent", "clean_latent", "t", "s")
        latents = {name: getattr(prediction, name) for name in fields}
        decoding = self.decoders.decoding(step.batch, step.rng, step.training)
        return DistillationOutput(**latents, guidance_scale=step.guidance_scale, **decoding)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The losses, and for the first batch the objective's metrics."""
        super().validation_step(batch, batch_idx)
        if batch_idx == 0:
            step = self.step(batch, self.rng(batch_idx))
            if metrics := self.objective.metrics(step, self.networks(averaged=True)):
                self.log_losses(metrics, len(batch))

    # What is trained, averaged and saved.

    def trainable(self) -> nn.Module:
        """The student, and the decoder if it is trained along."""
        decoder = self.decoders.decoder
        return self.student if decoder is None else nn.ModuleList([self.student, decoder.parts])

    def learners(self) -> dict[str, Learner]:
        """The student; the objective's networks; losses with parameters."""
        own, losses = self.objective.learners(), self.losses.learners()
        if clash := own.keys() & {"student", *losses}:
            raise ConfigurationError(f"expected other names for the objective's networks than {sorted(clash)}")
        return {"student": Learner(self.trainable())} | own | losses

    def active(self, step: int) -> set[str]:
        """Those that the objective updates at an optimizer step; losses learn with the student."""
        active = self.objective.active(step)
        if unknown := active - {"student", *self.objective.learners()}:
            raise ConfigurationError(
                f"{type(self.objective).__name__}.active({step}) names {sorted(unknown)}, but the networks are student "
                f"and {sorted(self.objective.learners())}"
            )
        return active | self.losses.learners().keys() if "student" in active else active

    def ema_source(self) -> nn.Module:
        """The student."""
        return self.student

    def emas(self) -> tuple[ExponentialMovingAverage, ...]:
        """The evaluation average, and the target network if the objective has one."""
        return tuple(filter(None, (self.target, self.average)))

    def update_averages(self, taken: Tensor | None) -> None:
        """The student's, and the decoder's if it is trained along."""
        super().update_averages(taken)
        if self.decoders.decoder is not None:
            self.decoders.decoder.update_average(taken)

    def setup(self, stage: str) -> None:
        """Compare the teacher with that of encoded trajectories; prepare the decoders, and the teacher's precision."""
        super().setup(stage)
        encodings = getattr(getattr(self.trainer, "datamodule", None), "encodings", {})
        check_trajectories(encodings, self.guidance_range, self.caption_dropout, bool(self.crop_lengths))
        self.decoders.setup()
        if self.objective.needs_teacher and str(self.trainer.precision) == "bf16-mixed":
            to_bfloat16(self.frozen.teacher)

    def fingerprints(self) -> dict[str, Callable[[], str] | None]:
        """The teacher's, too."""
        own = super().fingerprints()
        if self.objective.needs_teacher and self.sharded is None:  # a run after the first finds it compared
            own["teacher"] = lambda: teacher_fingerprint(self.frozen.teacher)
        return own

    def configure_callbacks(self) -> list[Callback]:
        """LoRA reports what is trained, and leaves its adapter."""
        return super().configure_callbacks() + ([] if self.lora is None else [SaveAdapter(self.lora)])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is not trained: it comes from the model folders again."""
        super().on_save_checkpoint(checkpoint)
        for name in self.untrained():
            checkpoint["state_dict"].pop(name, None)  # where networks are sharded, only the first process has it

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Fill in what was left out, so that whatever else is missing is an error."""
        super().on_load_checkpoint(checkpoint)
        checkpoint["state_dict"] = self.untrained() | checkpoint["state_dict"]

    def untrained(self) -> dict[str, Tensor]:
        """What of the state is not trained, such as the weights that LoRA adapts; averages share it."""
        frozen = {id(parameter) for parameter in self.student.parameters() if not parameter.requires_grad}
        return {name: value for name, value in self.state_dict(keep_vars=True).items() if id(value) in frozen}

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(C, *) of the latents that the student generates."""
        return self.student.latent_shape

    def references(self, batch: Batch, teacher: bool = True) -> dict[str, Tensor]:
        """The teacher's sounds, from the noise of the previews, and the recordings.

        Where the teacher is sharded, its processes query it together, equally often.
        """
        sounds = super().references(batch, teacher)
        if not teacher or self.teacher_pipeline is None:
            return sounds
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        pipeline = copy(self.teacher_pipeline)
        pipeline.register_modules(
            **self.whole_parts({name: getattr(pipeline, name) for name in ("vae", "vocoder", "text_encoder")})
        )
        return {"teacher": sample_quietly(pipeline, batch.captions, generator)} | sounds

    def pipeline(self) -> TextToAudioPipeline:
        """The student with averaged weights, its own decoder if it has one, and the teacher's other parts."""
        student = self.whole(cast(Backbone, self.average.module))
        own = self.decoders.student_codec(averaged=True)
        parts = self.whole_parts(self.parts if own is None else self.parts | {"vae": own.vae})
        networks = student.components() | {student.component: merged(student.network)}
        sampler = self.objective.sampler() or default_sampler(self.objective.one_query, self.objective.second_time)
        return TextToAudioPipeline(**networks, sampler=sampler, guidance_range=list(self.guidance_range), **parts)
