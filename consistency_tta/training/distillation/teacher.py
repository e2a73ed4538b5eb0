"""The guided, frozen teacher of a distillation."""

from __future__ import annotations

from numbers import Real
from pathlib import Path

import torch

from consistency_tta.components.backbones import Backbone
from consistency_tta.contracts import Denoiser
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError


def load_pipeline(model: str | Path | TextToAudioPipeline) -> TextToAudioPipeline:
    """A model by its folder or hub id, or the model itself."""
    return model if isinstance(model, TextToAudioPipeline) else TextToAudioPipeline.from_pretrained(model)


def load_teacher(
    teacher: str | Path | TextToAudioPipeline, guidance_scale: float | tuple[float, float]
) -> TextToAudioPipeline:
    """A diffusion teacher, guided in two queries or, if it has learnt the guidance scales required, in one.

    Args:
        teacher: its folder or hub id, or the model itself.
        guidance_scale: w, or the two ends of its range.

    Raises:
        ModelFolderError: if the folder has a one-query student.
        ConfigurationError: if the teacher was trained for fewer guidance scales than required.
    """
    parts = load_pipeline(teacher)
    folder = parts.config.get("_name_or_path") or "memory"
    parts.require("unet|transformer", "scheduler")
    if parts.sampler.one_query:
        raise ModelFolderError(
            f"expected a diffusion teacher, but {folder} has a one-query student: give it as `student.folder`"
        )
    low, high = guidance_range(guidance_scale)
    learnt = parts.config.get("guidance_range") or [low, high]
    if not learnt[0] <= low <= high <= learnt[1]:
        raise ConfigurationError(
            f"the teacher in {folder} was trained for guidance scales from {learnt[0]:g} to {learnt[1]:g}, but "
            f"guidance_scale is {low:g} to {high:g}: stay within, or distil from the teacher it was made of"
        )
    return parts


def to_bfloat16(teacher: Denoiser) -> None:
    """Keep the weights of a teacher's network in bfloat16, for trainings that compute in it.

    Autocast would round the same weights at each query, and the float32 weights would take twice the memory. Schedules
    and guidance stay in float32.
    """
    for module in teacher.modules():
        if isinstance(module, Backbone):
            module.network.to(torch.bfloat16)


def guidance_range(guidance_scale: float | tuple[float, float]) -> tuple[float, float]:
    """The two ends of the guidance scale; equal ones if it is fixed."""
    ends = guidance_scale if isinstance(guidance_scale, tuple | list) else (guidance_scale, guidance_scale)
    if len(ends) != 2 or not all(isinstance(end, Real) for end in ends) or not 0 <= ends[0] <= ends[1]:
        raise ConfigurationError(
            f"expected a guidance_scale of at least 0, or a range [low, high], got {guidance_scale}"
        )
    return float(ends[0]), float(ends[1])
