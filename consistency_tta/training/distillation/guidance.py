"""Guidance distillation: two queries of a teacher become one of a student that reads the guidance scale (stage 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import Batch, Conditioning, DistillationOutput, Loss, Weighting
from consistency_tta.diffusion.weighting import MinSNR
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training.base import Optimization
from consistency_tta.training.distillation.lora import LoRA
from consistency_tta.training.distillation.student import StudentTraining, load_teacher
from consistency_tta.training.step_rng import StepRNG


class GuidanceDistillation(StudentTraining):
    """Trains a diffusion student that answers in one query what the teacher's classifier-free guidance does in two.

    What it leaves is a diffusion model, to be sampled in many steps at half the teacher's queries. As the `teacher` of
    consistency distillation it halves the teacher's cost, and as its `student` it is the start of the paper's.

    Sources: Bai et al., "ConsistencyTTA: Accelerating Diffusion-Based Text-to-Audio Generation with Consistency
    Distillation", 2024, https://arxiv.org/abs/2309.10740, section 3; Meng et al., "On Distillation of Guided Diffusion
    Models", 2023, https://arxiv.org/abs/2210.03142, section 3.1.

    Args:
        teacher: folder or hub id of the guided teacher. The student starts at its conditional answers, and puts out
            what it puts out (such as v).
        losses: loss plugins by name. ``LatentL2Loss`` with the default weighting is the paper's; losses of sound hear
            the teacher's and the student's estimates of the clean latent.
        loss_weights: weights of the losses by name; 1 where none is given.
        guidance_scale: w, fixed; or the two ends of the range it is drawn from, per example.
        caption_dropout: share of examples trained without their caption, in [0, 1). Only needed for guidance on top of
            the student's.
        weighting: of losses with ``noise_weighted``. ``MinSNR`` if not given, which for the squared error of z_0 is the
            paper's weight min(SNR, 5) / (SNR + 1) of the squared error of v.
        decoder_gradient_checkpointing: whether the decoders' inner values are computed again on the way back instead of kept:
            losses of sound then need less memory, and more time.
        crop_frames: mel frames that losses of sound see of a training example, cut at a random place; 0 for all.
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
        guidance_scale: float | tuple[float, float] = (0.0, 6.0),
        caption_dropout: float = 0.0,
        weighting: Weighting | None = None,
        decoder_gradient_checkpointing: bool = False,
        crop_frames: int = 0,
        ema_decay: float = 0.999,
        optimization: Optimization = Optimization(),  # noqa: B008  # frozen
        seed: int | None = None,
        lora: LoRA | None = None,
    ) -> None:
        parts = load_teacher(teacher, guidance_scale)
        parts.require("unet", "scheduler")
        if parts.guidance_embedding is not None:
            raise ValueError(f"expected a teacher that is guided in two queries, but {teacher} already needs only one")
        own = parts.scheduler.config.prediction_type
        super().__init__(
            parts,
            parts,
            own,
            losses=losses,
            loss_weights=loss_weights,
            weighting=weighting or MinSNR(),
            guidance_scale=guidance_scale,
            caption_dropout=caption_dropout,
            train_decoder=False,
            decoder_gradient_checkpointing=decoder_gradient_checkpointing,
            crop_frames=crop_frames,
            ema_decay=ema_decay,
            optimization=optimization,
            seed=seed,
            lora=lora,
        )

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        """The losses between student and guided teacher at uniformly drawn noise levels."""
        z_0 = self.latents(batch, rng)
        t = rng.to_device(1.0 + rng.integers(self.schedule.num_train_timesteps, len(batch)))
        w = self.guidance_scales(len(batch), rng)
        conditioning = Conditioning(self.embed(batch, rng), w)
        z_t = self.noisy(z_0, rng.normal_like(z_0), t)
        with torch.no_grad():
            target = self.frozen.teacher(z_t, t, conditioning)
        estimate = self.current()(z_t, t, conditioning)
        sound = self.hearing.decoders(batch, rng, self.trainer.training)
        return self.compared(DistillationOutput(estimate, target, z_0, t, t, w, *sound))

    def pipeline(self) -> TextToAudioPipeline:
        """The student with averaged weights: a diffusion model."""
        return self.exported(distilled=False)
