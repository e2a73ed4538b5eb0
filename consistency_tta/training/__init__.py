"""LightningModules and callbacks."""

from consistency_tta.training.callbacks.loss_time_plot import DrawLossByTime
from consistency_tta.training.callbacks.overfitting import OverfittingGuard
from consistency_tta.training.callbacks.sound_metrics import SoundMetrics
from consistency_tta.training.callbacks.sounds import ExportFolder, LogSounds
from consistency_tta.training.codec.autoencoder import AutoencoderTraining
from consistency_tta.training.codec.refinement import DecoderRefinement
from consistency_tta.training.codec.vocoder import VocoderTraining
from consistency_tta.training.contrastive import ContrastiveTraining
from consistency_tta.training.diffusion import LatentDiffusion
from consistency_tta.training.distillation.consistency import ConsistencyDistillation
from consistency_tta.training.distillation.discretization import DiscretizationSchedule
from consistency_tta.training.distillation.guidance import GuidanceDistillation
from consistency_tta.training.distillation.lora import LoRA

__all__ = [
    "AutoencoderTraining",
    "ConsistencyDistillation",
    "ContrastiveTraining",
    "DecoderRefinement",
    "DiscretizationSchedule",
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
