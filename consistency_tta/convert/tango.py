"""TANGO and TANGO 2.

Source: Ghosal et al., "Text-to-Audio Generation using Instruction-Tuned LLM and Latent Diffusion Model", 2023,
https://arxiv.org/abs/2304.13731; its files are read as ``tango.py`` in https://github.com/declare-lab/tango does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from consistency_tta.convert.audioldm import codec_parts
from consistency_tta.convert.checkpoint import Checkpoint
from consistency_tta.convert.sources import classify_checkpoints
from consistency_tta.convert.text import text_parts
from consistency_tta.convert.unet import MEL_FRAMES, unet
from consistency_tta.diffusion.schedules import stable_diffusion_scheduler
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import CheckpointError


def tango(
    checkpoints: Sequence[Path], text_encoder: str | None, scale_factor: float | None = None
) -> TextToAudioPipeline:
    """A teacher from TANGO's files.

    Args:
        checkpoints: a copy of ``declare-lab/tango-full`` or its kin, or its files: ``pytorch_model_main.bin``,
            ``pytorch_model_vae.bin`` with ``vae_config.json`` (or AudioLDM's checkpoint), ``pytorch_model_stft.bin``.
        text_encoder: hub id or folder of the tokenizer; None leaves text encoder and tokenizer out.
        scale_factor: of the latents, where no file has it.
    """
    sources = classify_checkpoints(checkpoints, ("unet.",))
    if sources.networks is None:
        raise CheckpointError(
            f"no file among {', '.join(map(str, checkpoints))} holds TANGO's U-Net: expected pytorch_model_main.bin, "
            "whose names begin with unet. and text_encoder."
        )
    main = sources.networks
    others = [name for name in main.tensors if not name.startswith(("unet.", "text_encoder."))]
    if others:
        raise CheckpointError(
            f"{main.path} holds {len(others)} tensors that are neither of the U-Net nor of the text encoder "
            f"({', '.join(others[:4])}): expected TANGO's own U-Net, not Stable Diffusion's between two layers"
        )
    parts = codec_parts(sources, scale_factor)
    network = unet(main.under("unet."), latent_size(parts), main.path)
    return assemble_pipeline(parts, network, stable_diffusion_scheduler(), main, text_encoder)


def latent_size(parts: Mapping[str, Any]) -> tuple[int, int]:
    """(T, F) of the latents of 10.24 s."""
    downsampling = 2 ** (len(parts["vae"].config.block_out_channels) - 1)
    return MEL_FRAMES // downsampling, parts["mel"].config["n_mels"] // downsampling


def assemble_pipeline(
    parts: dict[str, Any],
    network: UNet2DConditionModel,
    scheduler: DDIMScheduler,
    main: Checkpoint,
    text_encoder: str | None,
    **further: Any,
) -> TextToAudioPipeline:
    """A pipeline of all its parts, which must fit each other."""
    channels = parts["vae"].config.latent_channels
    if network.config.in_channels != channels:
        raise CheckpointError(
            f"the U-Net of {main.path} is for latents of {network.config.in_channels} channels, but the autoencoder's "
            f"have {channels}: give the autoencoder it was trained with"
        )
    if text_encoder is not None:
        words: dict[str, Tensor] = main.under("text_encoder.")
        parts = parts | text_parts(words, text_encoder, network.config.cross_attention_dim, main.path)
    return TextToAudioPipeline(**parts, unet=network, scheduler=scheduler, **further)
