"""VGGish against transformers' spectrograms and a network written out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from consistency_tta.metrics.encoders.vggish import VGGish, VGGishNetwork
from consistency_tta.runtime.errors import CheckpointError, ShapeError

#: Tensors of ``vggish-10086976.pth``.
SHAPES = {
    "features.0": (64, 1, 3, 3),
    "features.3": (128, 64, 3, 3),
    "features.6": (256, 128, 3, 3),
    "features.8": (256, 256, 3, 3),
    "features.11": (512, 256, 3, 3),
    "features.13": (512, 512, 3, 3),
    "embeddings.0": (4096, 12288),
    "embeddings.2": (4096, 4096),
    "embeddings.4": (128, 4096),
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> VGGish:
    """With random weights, from a file that is small although they are many: each row is the last one, moved by 7."""
    file = tmp_path_factory.mktemp("vggish") / "vggish-10086976.pth"
    numbers = torch.randn(60_000, generator=torch.manual_seed(0))
    state = {}
    for name, shape in SHAPES.items():
        inside = math.prod(shape[1:])
        rows = ((2 / inside) ** 0.5 * numbers).as_strided((shape[0], inside), (7, 1))
        state |= {f"{name}.weight": rows.unflatten(1, shape[1:]), f"{name}.bias": 0.1 * numbers[: shape[0]]}
    torch.save(state, file)
    return VGGish(file)


@pytest.fixture(scope="module")
def waveform() -> torch.Tensor:
    noise = torch.randn(2, 40_000, generator=torch.manual_seed(1))
    return torch.cat([0.3 * noise[:1], 0.01 * noise[1:] + torch.sin(torch.arange(40_000) * 0.2)])


def test_log_mel_equals_that_of_transformers(encoder: VGGish, waveform: torch.Tensor) -> None:
    mel_filters = mel_filter_bank(257, 64, 125.0, 7500.0, 16_000, mel_scale="kaldi", triangularize_in_mel_space=True)
    window = window_function(400, "hann", periodic=True)
    for sound, found in zip(waveform, encoder.network.log_mel(waveform), strict=True):
        mel = spectrogram(
            sound.double().numpy(),
            window,
            400,
            160,
            512,
            power=1.0,
            center=False,
            mel_filters=mel_filters,
            mel_floor=0.0,
        )
        expected = np.log(mel + 0.01).T[:192].reshape(2, 96, 64)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_vectors_equal_those_of_the_network_written_out(encoder: VGGish, waveform: torch.Tensor) -> None:
    state = encoder.network.state_dict()
    log_mel = encoder.network.log_mel(waveform[1:])[0, 1]
    maps = log_mel[None]
    for name in SHAPES:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if name.startswith("features"):
            maps = torch.nn.functional.conv2d(maps, weight, bias, padding=1).relu()
            if name not in ("features.6", "features.11"):
                maps = maps.unfold(1, 2, 2).unfold(2, 2, 2).amax((3, 4))
        elif name == "embeddings.0":
            assert maps.shape == (512, 6, 4)
            vector = torch.stack([maps[:, time, band] for time in range(6) for band in range(4)]).reshape(-1)
            vector = (weight @ vector + bias).relu()
        else:
            vector = weight @ vector + bias
            vector = vector if name == "embeddings.4" else vector.relu()
    found = encoder.embed_windows(waveform[1:], 16_000).vectors
    assert found.shape == (1, 2, 128)
    assert (found[0, 0] - vector).abs().max() > 0.01
    torch.testing.assert_close(found[0, 1], vector, rtol=1e-3, atol=1e-4)


def test_only_whole_windows_are_embedded(encoder: VGGish, waveform: torch.Tensor) -> None:
    whole = 191 * 160 + 400  # 192 frames
    for samples, windows in ((whole, 2), (whole - 1, 1), (encoder.min_samples, 1)):
        assert encoder.network.log_mel(waveform[:, :samples]).shape == (2, windows, 96, 64)
    with pytest.raises(ShapeError, match="15599"):
        encoder.embed(waveform[:, : encoder.min_samples - 1], 16_000)


def test_the_file_must_be_vggish(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "vggish-10086976.pth")
    with pytest.raises(CheckpointError, match="vggish-10086976"):
        VGGish(tmp_path)
    found = {name: tuple(tensor.shape) for name, tensor in VGGishNetwork().state_dict().items()}
    expected = {f"{name}.weight": shape for name, shape in SHAPES.items()}
    assert found == expected | {f"{name}.bias": shape[:1] for name, shape in SHAPES.items()}
