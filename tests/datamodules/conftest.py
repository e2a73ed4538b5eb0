"""Audio made by code, in every container that is read; latents that `encode` made of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from consistency_tta.cli import main
from tests.toys import NUM_SAMPLES

Writer = Callable[..., Path]


@pytest.fixture
def write_tone(tmp_path: Path) -> Writer:
    """``write_tone("a.flac", frequency, seconds, rate, channels)``: a tone below tmp_path / "audio"."""

    def write(
        name: str,
        frequency: float = 440.0,
        seconds: float = 1.0,
        rate: int = 16000,
        channels: int = 1,
        level: float = 0.3,
        offset: float = 0.0,
    ) -> Path:
        path = tmp_path / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        waveform = level * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate) + offset
        soundfile.write(path, np.repeat(waveform[:, None], channels, axis=1), rate)
        return path

    return write


@pytest.fixture
def corpus(tmp_path: Path, write_tone) -> tuple[Path, Path]:
    """Seven clips, of which "good" and "also" can be used."""
    audio = tmp_path / "audio"
    write_tone("good.wav", rate=44100, seconds=2)
    write_tone("also.flac", rate=8000, seconds=2)
    write_tone("short.ogg", seconds=0.2)
    write_tone("silent.wav", level=0)
    (audio / "broken.mp3").write_text("not audio")
    soundfile.write(audio / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    rows = [
        f"{i},{name},0,A sound" for i, name in enumerate(["good", "also", "short", "silent", "broken", "nan", "gone"])
    ]
    captions = tmp_path / "captions.csv"
    captions.write_text("audiocap_id,youtube_id,start_time,caption\n" + "\n".join(rows))
    return captions, audio


@pytest.fixture(scope="session")
def encoded(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of eight clips' latents; a test that changes them does so to a copy."""
    output = tmp_path_factory.mktemp("encoded") / "latents"
    data = ["--data", "SyntheticDataModule", "--data.num_clips", "8", "--data.batch_size", "4"]
    size = ["--data.num_samples", str(NUM_SAMPLES)]
    main(["encode", "--model", str(teacher_folder), *data, *size, "--output", str(output), "--copies", "2"])
    return output
