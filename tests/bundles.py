"""Folders such as the package brings along, of a few thousand parameters."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from consistency_tta.components.backbones.unet import widen_unet
from consistency_tta.components.guidance import GuidanceEmbedding
from consistency_tta.components.networks import clap
from consistency_tta.diffusion.sampler import ConsistencySampler
from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.pipeline import TextToAudioPipeline

WIDTH = 16


def write_student(teacher: Path, folder: Path) -> None:
    """An untrained student of a teacher, in which w matters."""
    parts, features = TextToAudioPipeline.from_pretrained(teacher).components, GuidanceEmbedding()
    unet = widen_unet(parts["unet"], features.num_features)
    torch.nn.init.normal_(unet.class_embedding.linear_2.weight)
    parts |= {"unet": unet, "guidance_embedding": features, "sampler": ConsistencySampler()}
    TextToAudioPipeline(**parts).save_pretrained(folder)


def write_clap(folder: Path) -> None:
    """An untrained CLAP that embeds 1 s, without statistics of real clips."""
    small = {"channels": 8, "depths": [1, 1], "heads": [1, 2], "text_width": 16, "text_layers": 1, "text_heads": 2}
    clap(max_seconds=1, n_mels=32, hop_length=160, embedding_width=WIDTH, **small).save_pretrained(folder)


def unit_vectors(number: int) -> Tensor:
    """Random embeddings (number, WIDTH)."""
    return torch.nn.functional.normalize(torch.randn(number, WIDTH), dim=1)


def write_real_clips(folder: Path) -> None:
    """Random statistics in the folder of a CLAP."""
    ReferenceStatistics.of(unit_vectors(50)).save(folder)
