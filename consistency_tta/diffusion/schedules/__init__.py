"""Noise schedules: alpha_t and sigma_t of z_t = alpha_t z_0 + sigma_t epsilon, one family per file."""

from consistency_tta.diffusion.schedules.base import NoiseSchedule
from consistency_tta.diffusion.schedules.cosine import CosineSchedule
from consistency_tta.diffusion.schedules.from_config import prediction_type_from_config, schedule_from_config
from consistency_tta.diffusion.schedules.rectified_flow import RectifiedFlowSchedule
from consistency_tta.diffusion.schedules.stable_diffusion import stable_diffusion_scheduler
from consistency_tta.diffusion.schedules.variance_preserving import VariancePreservingSchedule
from consistency_tta.diffusion.schedules.zero_terminal_snr import ZeroTerminalSNRSchedule

__all__ = [
    "CosineSchedule",
    "NoiseSchedule",
    "RectifiedFlowSchedule",
    "VariancePreservingSchedule",
    "ZeroTerminalSNRSchedule",
    "prediction_type_from_config",
    "schedule_from_config",
    "stable_diffusion_scheduler",
]
