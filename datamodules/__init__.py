"""Datamodules, imported as ``consistency_tta.datamodules``."""

from consistency_tta.datamodules.audiocaps import AudioCapsDataModule
from consistency_tta.datamodules.base import ResumableDataModule
from consistency_tta.datamodules.latents import GeneratedLatentsDataModule, LatentsDataModule
from consistency_tta.datamodules.synthetic import SyntheticDataModule

__all__ = [
    "AudioCapsDataModule",
    "GeneratedLatentsDataModule",
    "LatentsDataModule",
    "ResumableDataModule",
    "SyntheticDataModule",
]
