"""A model's network as a guided teacher."""

from __future__ import annotations

import torch

from consistency_tta.contracts import Denoiser
from consistency_tta.diffusion.guidance import CFGDenoiser
from consistency_tta.pipeline.text_to_audio import TextToAudioPipeline


def guided(parts: TextToAudioPipeline) -> Denoiser:
    """Guided by ``Conditioning.guidance_scale``: in one query if the network has learnt to read it, else in two."""
    denoiser = parts.denoiser
    if denoiser.reads_guidance:
        return denoiser
    with torch.no_grad():
        return CFGDenoiser(denoiser, denoiser.unconditional(parts.text.eval()([""])))
