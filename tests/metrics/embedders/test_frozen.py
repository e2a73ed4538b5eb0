"""What all embedders share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from consistency_tta.metrics.embedder import AudioEmbedding
from consistency_tta.metrics.embedders.frozen import FrozenEmbedder


class Ears(FrozenEmbedder):
    name = "ears"
    sample_rate = 8000
    num_features = 3
    min_samples = 4
    checksum = ""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)))

    def hear(self, waveform: Tensor) -> AudioEmbedding:
        return AudioEmbedding(self.network(waveform[:, None, :4]))


def test_nobody_sees_the_weights_and_nothing_wakes_them() -> None:
    owner = nn.Module()
    owner.ears = Ears()
    owner.train()
    assert not owner.state_dict()
    assert not list(owner.parameters())
    assert not any(module.training for module in owner.ears.network.modules())
    waveform = torch.randn(2, 9, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        heard = owner.ears(waveform.double())
    assert heard.vectors.shape == (2, 1, 3)
    assert heard.vectors.dtype == torch.float32
    assert not heard.vectors.requires_grad
    owner.to("meta")
    assert all(parameter.is_meta for parameter in owner.ears.network.parameters())


@pytest.mark.parametrize("shape", [(9,), (2, 3), (1, 1, 9)])
def test_wrong_waveforms_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"ears expected a waveform \(B, samples\) of at least 4 samples at 8000 Hz"):
        Ears()(torch.zeros(shape))
