"""The released ConsistencyTTA, its CLAP-fine-tuned successor, and the diffusion models they were distilled from.

Source: Bai et al., "ConsistencyTTA: Accelerating Diffusion-Based Text-to-Audio Generation with Consistency
Distillation", 2024, https://arxiv.org/abs/2309.10740; its files are read as ``load_pretrained`` in
https://github.com/Bai-YT/ConsistencyTTA and ``easy_inference/consistencytta.py`` do.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from diffusers import DDIMScheduler
from torch import Tensor

from consistency_tta.components.backbones.unet import widen_unet
from consistency_tta.components.guidance import GuidanceEmbedding
from consistency_tta.convert.audioldm import codec_parts
from consistency_tta.convert.checkpoint import Checkpoint
from consistency_tta.convert.sources import Sources, classify_checkpoints
from consistency_tta.convert.tango import assemble_pipeline, latent_size
from consistency_tta.convert.unet import guided_unet, unet
from consistency_tta.diffusion.sampler import ConsistencySampler
from consistency_tta.diffusion.schedules import stable_diffusion_scheduler
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import CheckpointError

logger = logging.getLogger(__name__)

#: Where students are, under new names and old ones, the best first: the published evaluation (``--use_ema``) takes the
#: slow average, or the target network in checkpoints from before there was one; easy_inference has one U-Net alone.
STUDENTS = (
    "student_ema_unet.",
    "consistency_slow_ema_unet.",
    "student_target_unet.",
    "consistency_ema_unet.",
    "student_unet.",
    "consistency_unet.",
)
AVERAGES = STUDENTS[:4]
#: Prefixes of teachers: in the file of a student, and in LightweightLDM, which is a TANGO.
TEACHERS = ("teacher_unet.", "diffusion_unet.", "unet.")
#: How a U-Net alone in its file begins.
ALONE = ("down_blocks.",)
#: The decoder that the CLAP fine-tuning may train along: its averages, and what they stand in for.
DECODERS = {"ema_vae_decoder.": "decoder.", "ema_vae_pqconv.": "post_quant_conv."}
#: The guidance scales that students were trained for (``max_rand_guidance_scale``).
GUIDANCE_RANGE = [0.0, 6.0]


def consistencytta(
    checkpoints: Sequence[Path],
    text_encoder: str | None,
    scale_factor: float | None = None,
    network: Literal["student", "teacher"] | None = None,
) -> TextToAudioPipeline:
    """A student, of stage 1 or later, or the teacher in the same file.

    Args:
        checkpoints: ``epoch_*/pytorch_model_2.bin`` of ConsistencyTTA or ConsistencyTTA_CLAPFT, that of LightweightLDM
            or of stage 1, or ``unet_state_dict.pt``; and AudioLDM's checkpoint or ``vae_state_dict.pt``.
        text_encoder: hub id or folder of the tokenizer; None leaves text encoder and tokenizer out.
        scale_factor: of the latents, where no file has it.
        network: which to convert; the student, if there is one, by default.
    """
    sources = classify_checkpoints(checkpoints, (*STUDENTS, *TEACHERS, *ALONE))
    main = sources.networks
    if main is None:
        raise CheckpointError(
            f"no file among {', '.join(map(str, checkpoints))} holds a U-Net: expected ConsistencyTTA's "
            "pytorch_model_2.bin or unet_state_dict.pt"
        )
    prefix = network_prefix(main, network)
    logger.info(f"taking {prefix or 'all of it, a U-Net alone'} of {main.path}")
    if prefix in TEACHERS:
        parts = codec_parts(own_codec(sources), scale_factor)
        teacher = unet(main.under(prefix), latent_size(parts), main.path)
        return assemble_pipeline(parts, teacher, stable_diffusion_scheduler(), main, text_encoder)
    parts = codec_parts(own_codec(sources), scale_factor, decoder_averages(main))
    student, guidance = guided_unet(main.under(prefix), latent_size(parts), main.path)
    guided = {} if guidance is None else {"guidance_embedding": guidance, "guidance_range": GUIDANCE_RANGE}
    if is_stage_1(main):
        logger.info(f"{main.path} is of stage 1: a diffusion model that needs one query a step, and many steps")
        if guidance is None:
            # Guided by one fixed scale, which no name shows. Its output is the same for every scale that it is given.
            unread = GuidanceEmbedding()
            guided, student = {"guidance_embedding": unread}, widen_unet(student, unread.num_features)
        return assemble_pipeline(parts, student, stable_diffusion_scheduler(), main, text_encoder, **guided)
    # The student's raw output is z_0.
    scheduler = DDIMScheduler.from_config(stable_diffusion_scheduler().config, prediction_type="sample")
    return assemble_pipeline(parts, student, scheduler, main, text_encoder, sampler=ConsistencySampler(), **guided)


def is_stage_1(main: Checkpoint) -> bool:
    """Whether the student is a diffusion model still: distilled of its guidance (``AudioGDM``), not of its steps."""
    return main.has("student_ema_unet.") and main.has("teacher_unet.") and not main.has("student_target_unet.")


def network_prefix(main: Checkpoint, network: Literal["student", "teacher"] | None) -> str:
    """The prefix of the chosen U-Net's names; an empty text for a student alone in its file.

    Raises:
        CheckpointError: if it is not there.
    """
    students = [prefix for prefix in STUDENTS if main.has(prefix)]
    alone = main.has("guidance_proj.")
    if network != "teacher" and (students or alone):
        if students and students[0] not in AVERAGES:
            logger.warning(f"{main.path} has no average of the student, whose weights are taken as they were trained")
        return students[0] if students else ""
    teachers = [prefix for prefix in TEACHERS if main.has(prefix)]
    if network != "student" and teachers:
        return teachers[0]
    beginnings = sorted({name.split(".")[0] for name in main.tensors})
    raise CheckpointError(
        f"{main.path} holds no {network or 'known U-Net'}: expected names beginning "
        f"{', '.join(TEACHERS if network == 'teacher' else STUDENTS)}"
        f"{'' if network == 'teacher' else ', or guidance_proj.'}; its names begin {', '.join(beginnings[:8])}"
    )


def own_codec(sources: Sources) -> Sources:
    """The same sources, in which a checkpoint's own autoencoder is without the averages that training adds to it."""
    if sources.codec is not None and sources.codec is sources.networks:
        tensors = {
            name: tensor
            for name, tensor in sources.codec.tensors.items()
            if not name.startswith(("vae.ema_decoder.", "vae.ema_post_quant_conv."))
        }
        sources.codec = Checkpoint(sources.codec.path, tensors, sources.codec.numbers)
    return sources


def decoder_averages(main: Checkpoint) -> dict[str, Tensor]:
    """The fine-tuned decoder's average, named as in the autoencoder; empty if it was not trained along."""
    return {place + name: tensor for prefix, place in DECODERS.items() for name, tensor in main.under(prefix).items()}
