"""Metrics of generated audio, and the encoders that they use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consistency_tta.metrics.clap import CLAPAudioScore as CLAPAudioScore
    from consistency_tta.metrics.clap import CLAPScore as CLAPScore
    from consistency_tta.metrics.coverage import Coverage as Coverage
    from consistency_tta.metrics.divergence import SigmoidDivergence as SigmoidDivergence
    from consistency_tta.metrics.divergence import SoftmaxDivergence as SoftmaxDivergence
    from consistency_tta.metrics.diversity import PromptDiversity as PromptDiversity
    from consistency_tta.metrics.frechet import FrechetDistance as FrechetDistance
    from consistency_tta.metrics.frechet_infinity import FrechetInfinity as FrechetInfinity
    from consistency_tta.metrics.inception import InceptionScore as InceptionScore
    from consistency_tta.metrics.kernel import KernelAudioDistance as KernelAudioDistance
    from consistency_tta.metrics.kernel import KernelDistance as KernelDistance
    from consistency_tta.metrics.lsd import LogSpectralDistance as LogSpectralDistance

#: The module of each metric.
_MODULES = {
    "CLAPAudioScore": "clap",
    "CLAPScore": "clap",
    "Coverage": "coverage",
    "FrechetDistance": "frechet",
    "FrechetInfinity": "frechet_infinity",
    "InceptionScore": "inception",
    "KernelAudioDistance": "kernel",
    "KernelDistance": "kernel",
    "LogSpectralDistance": "lsd",
    "PromptDiversity": "diversity",
    "SigmoidDivergence": "divergence",
    "SoftmaxDivergence": "divergence",
}
__all__ = [
    "CLAPAudioScore",
    "CLAPScore",
    "Coverage",
    "FrechetDistance",
    "FrechetInfinity",
    "InceptionScore",
    "KernelAudioDistance",
    "KernelDistance",
    "LogSpectralDistance",
    "PromptDiversity",
    "SigmoidDivergence",
    "SoftmaxDivergence",
]


def __getattr__(name: str) -> Any:
    """Import a metric when it is first used: torchmetrics takes seconds."""
    if name in _MODULES:
        return getattr(import_module(f"consistency_tta.metrics.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
