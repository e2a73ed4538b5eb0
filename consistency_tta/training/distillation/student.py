"""What the distillations of a guided teacher share: teacher, student, and the draws of a step."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import torch
from diffusers import DDIMScheduler
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from consistency_tta.components.guidance import GuidanceEmbedding
from consistency_tta.components.unet import UNetDenoiser, student_unet
from consistency_tta.contracts import Batch, Denoiser, DistillationOutput, Loss, TextEmbedding, Weighting
from consistency_tta.diffusion.denoise import CFGDenoiser
from consistency_tta.diffusion.noise import expand
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training.base import Optimization
from consistency_tta.training.distillation.lora import LoRA, merged, save_adapter
from consistency_tta.training.distillation.loss_decoders import LossDecoders
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.latents import LatentTraining, embed_with_dropout
from consistency_tta.training.step_rng import StepRNG
from consistency_tta.training.time_binned_losses import LossesByTime
from consistency_tta.training.weighted_losses import WeightedLosses


class StudentTraining(LatentTraining):
    """Distillation of a guided teacher into a student that reads the guidance scale.

    Args:
        teacher: the teacher's folder, loaded.
        start: the folder, loaded, from whose U-Net the student starts.
        prediction_type: what the student's network puts out.
        losses: loss plugins by name.
        loss_weights: weights of the losses by name; 1 where none is given.
        weighting: of losses with ``noise_weighted``.
        guidance_scale: w, fixed; or the two ends of the range it is drawn from, per example.
        caption_dropout: share of examples trained without their caption, in [0, 1).
        train_decoder, decoder_gradient_checkpointing, crop_frames: see :class:`~consistency_tta.training.distillation.loss_decoders.LossDecoders`.
        ema_decay: of the averaged weights, which validation and ``export`` use.
        optimization: optimizer and schedule.
        seed: of all random draws; that of ``seed_everything`` if not given.
        lora: adapters to train instead of the whole U-Net.
    """

    def __init__(
        self,
        teacher: TextToAudioPipeline,
        start: TextToAudioPipeline,
        prediction_type: str,
        *,
        losses: dict[str, Loss],
        loss_weights: dict[str, float] | None,
        weighting: Weighting,
        guidance_scale: float | tuple[float, float],
        caption_dropout: float,
        train_decoder: bool,
        decoder_gradient_checkpointing: bool,
        crop_frames: int,
        ema_decay: float,
        optimization: Optimization,
        seed: int | None,
        lora: LoRA | None,
    ) -> None:
        if not 0 <= caption_dropout < 1:
            raise ValueError(f"expected a caption_dropout in [0, 1), got {caption_dropout}")
        super().__init__(teacher, optimization, seed, text=teacher.text, teacher=guided(teacher))
        self.losses = WeightedLosses(losses, loss_weights)
        self.weighting = weighting
        self.guidance_range = guidance_range(guidance_scale)
        self.caption_dropout = caption_dropout
        self.schedule = teacher.denoiser.schedule
        self.by_time = LossesByTime([f"loss/{name}" for name in losses], self.schedule.num_train_timesteps)
        features = deepcopy(start.guidance_embedding) or GuidanceEmbedding()
        # A copy: the folder's own network may be the teacher's.
        unet = deepcopy(start.unet) if start.guidance_embedding else student_unet(start.unet, features)
        unet.requires_grad_(True)
        self.lora = lora
        if lora is not None:
            lora.adapt(unet)
        self.student = UNetDenoiser(unet, self.schedule, prediction_type, features)
        self.average = ExponentialMovingAverage(self.student, ema_decay, warm_up=True)
        self.hearing = LossDecoders(
            self.frozen.codec,
            start.vae,
            self.latent_size[0],
            train_decoder=train_decoder,
            ema_decay=ema_decay,
            decoder_gradient_checkpointing=decoder_gradient_checkpointing,
            crop_frames=crop_frames,
        )
        scheduler = DDIMScheduler.from_config(teacher.scheduler.config, prediction_type=prediction_type)
        # Not registered: the networks among them are in `frozen`.
        self.parts: dict[str, Any] = {
            name: getattr(teacher, name) for name in ("mel", "vae", "vocoder", "text_encoder", "tokenizer")
        }
        self.parts |= {
            "scheduler": scheduler,
            "rewards": (teacher.rewards | start.rewards | self.losses.rewards).to_dict(),
        }

    @property
    def latent_size(self) -> torch.Size:
        """(T, F) of the latents that the student generates."""
        return torch.Size(self.student.unet.config.sample_size)

    def setup(self, stage: str) -> None:
        """Prepare decoders, too."""
        super().setup(stage)
        self.hearing.setup()

    def trainable(self) -> nn.Module:
        """The student, and the decoder if it is trained along."""
        decoder = self.hearing.decoder
        return self.student if decoder is None else nn.ModuleList([self.student, decoder.parts])

    def ema_source(self) -> nn.Module:
        """The student."""
        return self.student

    def emas(self) -> tuple[ExponentialMovingAverage, ...]:
        """The evaluation average."""
        return (self.average,)

    def update_averages(self) -> None:
        """The student's, and the decoder's if it is trained along."""
        super().update_averages()
        if self.hearing.decoder is not None:
            self.hearing.decoder.update_average()

    def on_fit_start(self) -> None:
        """Say how much of the student an adapter is."""
        if self.lora is not None:
            parameters = list(self.student.parameters())
            trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
            total = sum(parameter.numel() for parameter in parameters)
            rank_zero_info(f"LoRA: {trained:,} of {total:,} parameters of the student are trained")

    def on_train_end(self) -> None:
        """Leave the averaged adapter by itself, if asked."""
        if self.lora is not None and self.lora.adapter_folder is not None and self.trainer.is_global_zero:
            save_adapter(cast(UNetDenoiser, self.average.module).unet, self.lora.adapter_folder)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is not trained: it comes from the model folders again."""
        super().on_save_checkpoint(checkpoint)
        for name in self.untrained():
            del checkpoint["state_dict"][name]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Fill in what was left out, so that whatever else is missing is an error."""
        checkpoint["state_dict"] = self.untrained() | checkpoint["state_dict"]

    def untrained(self) -> dict[str, Tensor]:
        """What of the state is not trained, such as the weights beside adapters; averages share it."""
        frozen = {id(parameter) for parameter in self.student.parameters() if not parameter.requires_grad}
        return {name: value for name, value in self.state_dict(keep_vars=True).items() if id(value) in frozen}

    def current(self) -> UNetDenoiser:
        """The student in training, or its average outside of it."""
        return self.student if self.trainer.training else cast(UNetDenoiser, self.average.module)

    def guidance_scales(self, batch_size: int, rng: StepRNG) -> Tensor:
        """Guidance scales (B,), on the device."""
        low, high = self.guidance_range
        return rng.to_device(low + (high - low) * rng.uniform(batch_size))

    def noisy(self, z_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """z_t (B, C, T, F); at the top step pure noise, since that is what generation starts from."""
        top = expand(t == self.schedule.num_train_timesteps, z_0)
        return torch.where(top, self.schedule.prior(epsilon), self.schedule.add_noise(z_0, epsilon, t))

    @torch.no_grad()
    def embed(self, batch: Batch, rng: StepRNG | None = None) -> TextEmbedding:
        """Embeddings of the batch's captions; in training, given rng, some of them dropped."""
        if rng is None or not self.caption_dropout or not self.trainer.training:
            return batch.text or self.frozen.text(batch.captions)
        return embed_with_dropout(batch, self.frozen.text, self.caption_dropout, rng)

    def compared(self, out: DistillationOutput) -> Tensor:
        """The weighted sum of the losses; logs each of them, outside training for ranges of noise levels as well."""
        values = self.losses.values(out)
        losses = self.losses.combine(values, self.weighting(out.t, self.schedule))
        self.log_losses(losses, len(out.batch))
        self.note_by_time({f"loss/{name}": value.detach() for name, value in values.items()}, out.t)
        return losses["loss"]

    def exported(self, distilled: bool) -> TextToAudioPipeline:
        """The student with averaged weights, its own decoder if it has one, and the teacher's other parts."""
        student = cast(UNetDenoiser, self.average.module)
        own = self.hearing.student_codec(averaged=True)
        parts = self.parts if own is None else self.parts | {"vae": own.vae}
        return TextToAudioPipeline(
            unet=merged(student.unet),
            guidance_embedding=student.guidance_embedding,
            distilled=distilled,
            guidance_range=list(self.guidance_range),
            **parts,
        )


def load_teacher(folder: str, guidance_scale: float | tuple[float, float]) -> TextToAudioPipeline:
    """Load a diffusion teacher, guided in two queries or, if it has learnt the guidance scales asked for, in one."""
    parts = TextToAudioPipeline.from_pretrained(folder)
    if parts.config["distilled"]:
        raise ValueError(f"expected a diffusion teacher, but {folder} is a one-query student: give it as `student`")
    low, high = guidance_range(guidance_scale)
    learnt = parts.config.get("guidance_range") or [low, high]
    if not learnt[0] <= low <= high <= learnt[1]:
        raise ValueError(
            f"the teacher in {folder} has learnt guidance scales from {learnt[0]:g} to {learnt[1]:g}, but "
            f"guidance_scale asks for {low:g} to {high:g}: stay within, or distil from the teacher it was made of"
        )
    return parts


def guided(parts: TextToAudioPipeline) -> Denoiser:
    """Guided by ``Conditioning.guidance_scale``: in one query if the U-Net has learnt to read it, else in two."""
    if parts.guidance_embedding is not None:
        return parts.denoiser
    with torch.no_grad():
        return CFGDenoiser(parts.denoiser, parts.text.eval()([""]))


def guidance_range(guidance_scale: float | tuple[float, float]) -> tuple[float, float]:
    """The two ends of the guidance scale; equal ones if it is fixed."""
    low, high = guidance_scale if isinstance(guidance_scale, tuple | list) else (guidance_scale, guidance_scale)
    if not 0 <= low <= high:
        raise ValueError(f"expected a guidance_scale of at least 0, or a range [low, high], got {guidance_scale}")
    return float(low), float(high)
