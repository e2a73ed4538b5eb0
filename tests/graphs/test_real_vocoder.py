"""Vocoders in real numbers make the sound of the complex ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.components.vocoder import FourierVocoder
from consistency_tta.graphs.real_vocoder import real_vocoder
from tests.toys import VOCODER

GRIFFIN_LIM = {"model_in_dim": 16, "num_iterations": 2, "num_updates": 3}


def make_mel(batch_size: int = 2) -> torch.Tensor:
    return torch.randn(batch_size, 32, 16, generator=torch.Generator().manual_seed(1)) - 5


@pytest.mark.parametrize(
    "vocoder",
    [GriffinLimVocoder(**GRIFFIN_LIM), FourierVocoder(**VOCODER, mel_share=0.5)],
    ids=["Griffin-Lim", "matched to the mel"],
)
@torch.no_grad()
def test_the_sound_is_the_complex_one_s(vocoder: nn.Module) -> None:
    expected = vocoder.eval()(make_mel())
    got = real_vocoder(vocoder, 32)(make_mel())
    torch.testing.assert_close(got, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)
