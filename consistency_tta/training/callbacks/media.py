"""Sounds and pictures for the loggers that take them: TensorBoard, Weights & Biases and MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image
from torch import Tensor

Thing = TypeVar("Thing")


def takes_media(logger: Logger) -> bool:
    """Whether a logger takes sounds and pictures."""
    return isinstance(logger, TensorBoardLogger | WandbLogger | MLFlowLogger)


def log_pictures(logger: Logger, key: str, pictures: Mapping[str, Image.Image], step: int) -> None:
    """Log pictures that belong together; a logger that takes none ignores them.

    Args:
        logger: of any class.
        key: what the pictures show, such as ``spectrogram/0_a_dog``. TensorBoard has the first under it, and each
            further one under the key and its name, which comes next in its list.
        pictures: by name, such as ``student`` and ``recording``.
        step: optimizer step.
    """
    opaque = {name: on_white(picture) for name, picture in pictures.items()}
    if isinstance(logger, TensorBoardLogger):
        for name, picture in _keys(key, opaque).items():
            logger.experiment.add_image(name, np.asarray(picture), step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(key, list(opaque.values()), step, caption=list(opaque))
    elif isinstance(logger, MLFlowLogger):
        for name, picture in opaque.items():
            logger.experiment.log_image(logger.run_id, np.asarray(picture), artifact_file=_file(key, step, name, "png"))


def log_sounds(logger: Logger, key: str, sounds: Mapping[str, Tensor], rate: int, step: int) -> None:
    """Log sounds that belong together; a logger that takes none ignores them.

    Args:
        logger, key, step: as in :func:`log_pictures`.
        sounds: waveforms (samples,) or (channels, samples) in [-1, 1] by name; TensorBoard, which is mono, gets the
            mean of the channels.
        rate: sample rate in Hz.
    """
    arrays = {name: sound.detach().float().cpu().clamp(-1, 1).movedim(-1, 0).numpy() for name, sound in sounds.items()}
    if isinstance(logger, TensorBoardLogger):
        for name, array in _keys(key, arrays).items():
            mono = array if array.ndim == 1 else array.mean(1)
            logger.experiment.add_audio(name, mono[None], step, sample_rate=rate)
    elif isinstance(logger, WandbLogger):
        logger.log_audio(key, list(arrays.values()), step, sample_rate=[rate] * len(arrays), caption=list(arrays))
    elif isinstance(logger, MLFlowLogger):
        for name, array in arrays.items():
            file = Path(_file(key, step, name, "wav"))
            with tempfile.TemporaryDirectory() as folder:
                soundfile.write(Path(folder) / file.name, array, rate)
                logger.experiment.log_artifact(logger.run_id, str(Path(folder) / file.name), str(file.parent))


def on_white(picture: Image.Image) -> Image.Image:
    """A picture in RGB, white where it is transparent."""
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _keys(key: str, things: Mapping[str, Thing]) -> dict[str, Thing]:
    return {key if index == 0 else f"{key}_{name}": thing for index, (name, thing) in enumerate(things.items())}


def _file(key: str, step: int, name: str, suffix: str) -> str:
    return f"{key}/step{step:07d}_{name}.{suffix}"
