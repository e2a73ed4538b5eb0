import numpy as np
import pytest
import torch

from tests.tools.tflite import write_linear_layers
from tools.birdnet import BirdNet

WINDOW, DIM = 300, 4


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(0).standard_normal((DIM, WINDOW)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(weights, tmp_path_factory):
    """A network whose embedding is linear in the window."""
    file = tmp_path_factory.mktemp("birdnet") / "network.tflite"
    write_linear_layers(file, weights, np.ones((7, DIM)))
    return BirdNet(file)


def sounds(samples):
    return 0.1 * torch.randn(3, samples, generator=torch.Generator().manual_seed(samples))


def test_the_vector_is_the_layer_before_the_logits(encoder, weights):
    waveform = sounds(WINDOW)
    assert encoder.num_features == DIM
    torch.testing.assert_close(encoder.embed(waveform, 48_000), waveform @ torch.from_numpy(weights).T)


def test_short_sounds_are_padded_with_silence(encoder, weights):
    waveform = sounds(100)
    expected = waveform @ torch.from_numpy(weights[:, :100]).T
    torch.testing.assert_close(encoder.embed(waveform, 48_000), expected)


@pytest.mark.parametrize(("samples", "starts"), [(450, [0, 150]), (900, [0, 300, 600])])
def test_windows_cover_a_long_sound(encoder, weights, samples, starts):
    waveform = sounds(samples)
    windows = torch.stack([waveform[:, start : start + WINDOW] for start in starts]).mean(0)
    torch.testing.assert_close(encoder.embed(waveform, 48_000), windows @ torch.from_numpy(weights).T)


def test_other_rates_are_resampled(encoder):
    embedding = encoder.embed_windows(sounds(150), 16_000)
    assert embedding.vectors.shape == (3, 1, DIM)
    assert embedding.logits is None


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        BirdNet(tmp_path / "absent")
