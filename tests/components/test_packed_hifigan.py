"""A packed HiFi-GAN makes the same waveforms."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.components.networks import hifigan
from consistency_tta.components.packed_hifigan import RowUpsampling, pack_hifigan
from consistency_tta.components.packed_layers import can_pack


@pytest.mark.skipif(not can_pack(torch.float32, torch.device("cpu")), reason="oneDNN on x86 alone packs weights")
@torch.inference_mode()
def test_waveforms_are_the_same() -> None:
    vocoder = hifigan(16, 16000, 16, [4, 2], [8, 5])
    vocoder.config.normalize_before = True
    vocoder.mean.fill_(0.5)
    vocoder.scale.fill_(2.0)
    mel = torch.randn(2, 9, 16)
    expected = vocoder(mel)
    pack_hifigan(vocoder)
    assert isinstance(vocoder.upsampler[0], RowUpsampling)
    torch.testing.assert_close(vocoder(mel), expected, atol=1e-6, rtol=1e-4)


def test_other_number_formats_are_left_alone() -> None:
    vocoder = hifigan(16, 16000, 8, [4], [8]).double()
    pack_hifigan(vocoder)
    assert isinstance(vocoder.conv_pre, torch.nn.Conv1d)
