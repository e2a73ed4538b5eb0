"""Datamodules, imported as ``consistency_tta.datamodules``."""

from consistency_tta.datamodules.audiocaps import AudioCapsDataModule
from consistency_tta.datamodules.base import ResumableDataModule
from consistency_tta.datamodules.generated_latents import GeneratedLatentsDataModule
from consistency_tta.datamodules.hugging_face import HuggingFaceDataModule
from consistency_tta.datamodules.latents import LatentsDataModule
from consistency_tta.datamodules.recordings import RecordingsDataModule
from consistency_tta.datamodules.synthetic import SyntheticDataModule
from consistency_tta.datamodules.webdataset import WebDatasetDataModule

__all__ = [
    "AudioCapsDataModule",
    "GeneratedLatentsDataModule",
    "HuggingFaceDataModule",
    "LatentsDataModule",
    "RecordingsDataModule",
    "ResumableDataModule",
    "SyntheticDataModule",
    "WebDatasetDataModule",
]
