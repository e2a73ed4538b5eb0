"""Sounds and pictures reach each logger in the form of its API; wandb and mlflow are replaced by stand-ins."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from consistency_tta.training.callbacks.media import log_pictures, log_sounds, on_white, takes_media


class RecordingWandb(WandbLogger):
    """Has the signatures of Lightning's WandbLogger, and its check of the lengths."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, list[Any], int | None, dict[str, list[Any]]]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        assert isinstance(images, list)
        assert {len(value) for value in kwargs.values()} == {len(images)}
        self.calls.append(("image", key, images, step, kwargs))

    def log_audio(self, key: str, audios: list[Any], step: int | None = None, **kwargs: Any) -> None:
        assert isinstance(audios, list)
        assert {len(value) for value in kwargs.values()} == {len(audios)}
        self.calls.append(("audio", key, audios, step, kwargs))


class MlflowClient:
    """Has the signatures of mlflow.tracking.MlflowClient."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def log_image(self, run_id: str, image: np.ndarray, artifact_file: str | None = None) -> None:
        assert (run_id, image.dtype) == ("run", np.uint8)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        self.files[str(artifact_file)] = file.getvalue()

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        assert run_id == "run"
        self.files[f"{artifact_path}/{Path(local_path).name}"] = Path(local_path).read_bytes()


class RecordingMlflow(MLFlowLogger):
    experiment = MlflowClient()
    run_id = "run"

    def __init__(self) -> None:
        self.experiment = MlflowClient()


class Writer:
    """Has the signatures of TensorBoard's SummaryWriter, as far as they are used."""

    def __init__(self) -> None:
        self.pictures: dict[str, tuple[np.ndarray, int, str]] = {}
        self.sounds: dict[str, tuple[np.ndarray, int, int]] = {}

    def add_image(self, tag: str, img_tensor: np.ndarray, global_step: int, dataformats: str = "CHW") -> None:
        self.pictures[tag] = (img_tensor, global_step, dataformats)

    def add_audio(self, tag: str, snd_tensor: np.ndarray, global_step: int, sample_rate: int = 44100) -> None:
        self.sounds[tag] = (snd_tensor, global_step, sample_rate)


class RecordingTensorBoard(TensorBoardLogger):
    experiment = Writer()

    def __init__(self) -> None:
        self.experiment = Writer()


@pytest.fixture
def sounds() -> dict[str, torch.Tensor]:
    return {"model": torch.rand(2, 4000) - 0.5, "recording": torch.rand(4000) - 0.5}


@pytest.fixture
def pictures() -> dict[str, Image.Image]:
    return {"model": Image.new("RGBA", (8, 6), (255, 0, 0, 255)), "recording": Image.new("RGBA", (8, 6), (0, 0, 0, 0))}


def test_weights_and_biases_has_them_side_by_side(
    sounds: dict[str, torch.Tensor], pictures: dict[str, Image.Image]
) -> None:
    logger = RecordingWandb()
    log_pictures(logger, "spectrogram/0_dog", pictures, 7)
    log_sounds(logger, "sound/0_dog", sounds, 8000, 7)
    (kind, key, images, step, settings), audio = logger.calls
    assert (kind, key, step, settings) == ("image", "spectrogram/0_dog", 7, {"caption": ["model", "recording"]})
    assert [image.mode for image in images] == ["RGB", "RGB"]
    assert (audio[0], audio[1], audio[3]) == ("audio", "sound/0_dog", 7)
    assert [array.shape for array in audio[2]] == [(4000, 2), (4000,)]
    assert audio[4] == {"sample_rate": [8000, 8000], "caption": ["model", "recording"]}


def test_tensorboard_has_one_after_another_and_is_mono(
    sounds: dict[str, torch.Tensor], pictures: dict[str, Image.Image]
) -> None:
    logger = RecordingTensorBoard()
    log_pictures(logger, "spectrogram/0_dog", pictures, 7)
    log_sounds(logger, "sound/0_dog", sounds, 8000, 7)
    assert list(logger.experiment.pictures) == ["spectrogram/0_dog", "spectrogram/0_dog_recording"]
    for picture, step, order in logger.experiment.pictures.values():
        assert (picture.shape, step, order) == ((6, 8, 3), 7, "HWC")
    assert list(logger.experiment.sounds) == ["sound/0_dog", "sound/0_dog_recording"]
    for sound, (array, step, rate) in zip(sounds.values(), logger.experiment.sounds.values(), strict=True):
        assert (array.shape, step, rate) == ((1, 4000), 7, 8000)
        mono = sound.mean(0) if sound.ndim == 2 else sound
        np.testing.assert_allclose(array[0], mono.numpy(), atol=1e-6)


def test_sounds_are_float32_within_bounds() -> None:
    logger = RecordingWandb()
    given = torch.tensor([-3.0, -0.5, 0.5, 3.0], dtype=torch.bfloat16, requires_grad=True)
    log_sounds(logger, "sound", {"model": given}, 8000, 7)
    [(_, _, [array], _, _)] = logger.calls
    assert array.dtype == np.float32
    assert array.tolist() == [-1.0, -0.5, 0.5, 1.0]


def test_mlflow_has_files(sounds: dict[str, torch.Tensor], pictures: dict[str, Image.Image]) -> None:
    logger = RecordingMlflow()
    log_pictures(logger, "spectrogram/0_dog", pictures, 7)
    log_sounds(logger, "sound/0_dog", sounds, 8000, 7)
    files = logger.experiment.files
    assert set(files) == {
        f"{key}/0_dog/step0000007_{name}.{suffix}"
        for key, suffix in (("spectrogram", "png"), ("sound", "wav"))
        for name in ("model", "recording")
    }
    written, rate = soundfile.read(io.BytesIO(files["sound/0_dog/step0000007_model.wav"]))
    assert (written.shape, rate) == ((4000, 2), 8000)
    picture = Image.open(io.BytesIO(files["spectrogram/0_dog/step0000007_recording.png"]))
    assert picture.getpixel((0, 0)) == (255, 255, 255)


def test_other_loggers_take_none(
    sounds: dict[str, torch.Tensor], pictures: dict[str, Image.Image], tmp_path: Path
) -> None:
    logger = CSVLogger(tmp_path)
    log_pictures(logger, "a", pictures, 1)
    log_sounds(logger, "a", sounds, 8000, 1)
    assert not takes_media(logger)
    assert [takes_media(one) for one in (RecordingWandb(), RecordingMlflow())] == [True, True]
    assert not any(tmp_path.rglob("*.wav"))


def test_transparent_pictures_are_white() -> None:
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert on_white(half).getpixel((0, 0)) == pytest.approx((127, 127, 127), abs=1)
