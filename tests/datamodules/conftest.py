"""Audio made by code, in every container that is read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

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
