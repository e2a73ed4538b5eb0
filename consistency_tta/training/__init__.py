"""LightningModules, objectives and callbacks."""

from consistency_tta.contracts import FinalPhase, Optimization
from consistency_tta.training.callbacks.best_under_constraints import BestUnderConstraints
from consistency_tta.training.callbacks.compilation import CompileBlocks
from consistency_tta.training.callbacks.constraints import Constraint
from consistency_tta.training.callbacks.export_folder import ExportFolder
from consistency_tta.training.callbacks.frozen_in_bfloat16 import FrozenInBfloat16
from consistency_tta.training.callbacks.gradient_checkpointing import GradientCheckpointing
from consistency_tta.training.callbacks.loss_time_plot import DrawLossByTime
from consistency_tta.training.callbacks.overfitting import OverfittingGuard
from consistency_tta.training.callbacks.progress import StepProgressBar
from consistency_tta.training.callbacks.sound_metrics import SoundMetrics
from consistency_tta.training.callbacks.sounds import LogSounds
from consistency_tta.training.callbacks.step_parts import TimeStepParts
from consistency_tta.training.codec.autoencoder import AutoencoderTraining
from consistency_tta.training.codec.light_decoder import LightDecoderTraining
from consistency_tta.training.codec.refinement import DecoderRefinement
from consistency_tta.training.codec.vocoder import VocoderTraining
from consistency_tta.training.contrastive import ContrastiveTraining
from consistency_tta.training.diffusion import LatentDiffusion
from consistency_tta.training.distillation.lora import LoRA
from consistency_tta.training.distillation.loss_decoders import DecodingConfig
from consistency_tta.training.distillation.module import Distillation
from consistency_tta.training.distillation.objectives.adversarial import AdversarialDistillation
from consistency_tta.training.distillation.objectives.alpha_schedule import AlphaSchedule
from consistency_tta.training.distillation.objectives.anchor import Anchor
from consistency_tta.training.distillation.objectives.combination import CombinedObjective
from consistency_tta.training.distillation.objectives.consistency import ConsistencyDistillation
from consistency_tta.training.distillation.objectives.consistency_pairs import GridPairs, TighteningPairs
from consistency_tta.training.distillation.objectives.consistency_training import ConsistencyTraining
from consistency_tta.training.distillation.objectives.continuous_consistency import ContinuousConsistency
from consistency_tta.training.distillation.objectives.discretization import DiscretizationSchedule
from consistency_tta.training.distillation.objectives.distribution_matching import DistributionMatching
from consistency_tta.training.distillation.objectives.energy_distance import EnergyDistance
from consistency_tta.training.distillation.objectives.energy_score import EnergyScore
from consistency_tta.training.distillation.objectives.guidance import GuidanceDistillation
from consistency_tta.training.distillation.objectives.mean_flow import MeanFlow
from consistency_tta.training.distillation.objectives.ramp import Ramp
from consistency_tta.training.distillation.objectives.teacher_features import TeacherFeatures
from consistency_tta.training.distillation.objectives.time_pairs import TimePairs
from consistency_tta.training.distillation.objectives.times import LogNormalTimes
from consistency_tta.training.distillation.objectives.trajectory_backward import TrajectoryBackward
from consistency_tta.training.distillation.objectives.trajectory_consistency import TrajectoryConsistency
from consistency_tta.training.distillation.student import StudentConfig
from consistency_tta.training.fully_sharded import FullySharded

__all__ = [
    "AdversarialDistillation",
    "AlphaSchedule",
    "Anchor",
    "AutoencoderTraining",
    "BestUnderConstraints",
    "CombinedObjective",
    "CompileBlocks",
    "ConsistencyDistillation",
    "ConsistencyTraining",
    "Constraint",
    "ContinuousConsistency",
    "ContrastiveTraining",
    "DecoderRefinement",
    "DecodingConfig",
    "DiscretizationSchedule",
    "Distillation",
    "DistributionMatching",
    "DrawLossByTime",
    "EnergyDistance",
    "EnergyScore",
    "ExportFolder",
    "FinalPhase",
    "FrozenInBfloat16",
    "FullySharded",
    "GradientCheckpointing",
    "GridPairs",
    "GuidanceDistillation",
    "LatentDiffusion",
    "LightDecoderTraining",
    "LoRA",
    "LogNormalTimes",
    "LogSounds",
    "MeanFlow",
    "Optimization",
    "OverfittingGuard",
    "Ramp",
    "SoundMetrics",
    "StepProgressBar",
    "StudentConfig",
    "TeacherFeatures",
    "TighteningPairs",
    "TimePairs",
    "TimeStepParts",
    "TrajectoryBackward",
    "TrajectoryConsistency",
    "VocoderTraining",
]
