"""What encoders of windows share: resampling, precision, frozen weights, and one vector for a sound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from consistency_tta.audio.resample import resample
from consistency_tta.contracts import AudioEmbedding
from consistency_tta.metrics.encoders.window_encoder import WindowEncoder
from consistency_tta.runtime.errors import ShapeError


class Quarters(WindowEncoder):
    """A linear map of each four samples, which are a window."""

    sample_rate = 8000
    num_features = 3
    min_samples = 4

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)))

    def windows(self, waveform: Tensor) -> AudioEmbedding:
        return AudioEmbedding(self.network(waveform.unfold(1, 4, 4)))


def test_its_weights_are_invisible_and_stay_in_evaluation_mode() -> None:
    owner = nn.Module()
    owner.encoder = Quarters()
    owner.train()
    assert not owner.state_dict()
    assert not list(owner.parameters())
    assert not any(module.training for module in owner.encoder.network.modules())
    owner.to("meta")
    assert all(parameter.is_meta for parameter in owner.encoder.network.parameters())


def test_it_computes_in_float32_and_passes_gradients_to_the_waveform() -> None:
    encoder, waveform = Quarters(), torch.randn(2, 9, dtype=torch.float64, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedding = encoder.embed_windows(waveform, 8000)
    assert embedding.vectors.shape == (2, 2, 3)
    assert embedding.vectors.dtype == torch.float32
    embedding.vectors.sum().backward()
    assert waveform.grad[:, :8].all()
    assert all(parameter.grad is None for parameter in encoder.network.parameters())


def test_one_vector_is_the_mean_of_the_windows_at_the_encoders_rate() -> None:
    encoder, waveform = Quarters(), torch.randn(2, 32)
    windows = encoder.embed_windows(waveform, 16000).vectors
    assert torch.equal(windows, encoder.embed_windows(resample(waveform, 16000, 8000), 8000).vectors)
    assert windows.shape == (2, 4, 3)
    torch.testing.assert_close(encoder.embed(waveform, 16000), windows.mean(1))


@pytest.mark.parametrize(("shape", "rate"), [((9,), 8000), ((1, 1, 9), 8000), ((2, 3), 8000), ((2, 6), 16000)])
def test_wrong_waveforms_are_refused(shape: tuple[int, ...], rate: int) -> None:
    with pytest.raises(ShapeError, match="Quarters"):
        Quarters().embed(torch.zeros(shape), rate)
