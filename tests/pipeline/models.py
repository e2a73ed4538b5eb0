"""Toy pipelines."""

from __future__ import annotations

import torch

from consistency_tta.components.backbones.unet import widen_unet
from consistency_tta.components.guidance import GuidanceEmbedding
from consistency_tta.pipeline import TextToAudioPipeline
from tests.toys import toy_parts


def teacher() -> TextToAudioPipeline:
    pipeline = TextToAudioPipeline(**toy_parts())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def student() -> TextToAudioPipeline:
    """Reads the guidance scale, and makes something of it."""
    parts, features = toy_parts(), GuidanceEmbedding()
    unet = widen_unet(parts["unet"], features.num_features)
    torch.nn.init.normal_(unet.class_embedding.linear_2.weight)
    pipeline = TextToAudioPipeline(**(parts | {"unet": unet}), guidance_embedding=features, distilled=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
