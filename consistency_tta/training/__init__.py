"""LightningModules and callbacks."""

from consistency_tta.training.autoencoder import AutoencoderTraining
from consistency_tta.training.callbacks import ExportFolder, LogSounds
from consistency_tta.training.consistency import ConsistencyDistillation
from consistency_tta.training.contrastive import ContrastiveTraining
from consistency_tta.training.diffusion import LatentDiffusion
from consistency_tta.training.guidance import GuidanceDistillation
from consistency_tta.training.lora import LoRA
from consistency_tta.training.loss_by_time import DrawLossByTime
from consistency_tta.training.num_steps import DoublingSteps
from consistency_tta.training.overfitting import OverfittingGuard
from consistency_tta.training.refinement import DecoderRefinement
from consistency_tta.training.sound_metrics import SoundMetrics
from consistency_tta.training.vocoder import VocoderTraining

__all__ = [
    "AutoencoderTraining",
    "ConsistencyDistillation",
    "ContrastiveTraining",
    "DecoderRefinement",
    "DoublingSteps",
    "DrawLossByTime",
    "ExportFolder",
    "GuidanceDistillation",
    "LatentDiffusion",
    "LoRA",
    "LogSounds",
    "OverfittingGuard",
    "SoundMetrics",
    "VocoderTraining",
]
