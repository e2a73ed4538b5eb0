"""The quick vocoder: lengths, gradients, and that it can learn a sound."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.vocoder import FourierVocoder
from tests.toys import VOCODER


@pytest.mark.parametrize("frames", [1, 4, 33])
@pytest.mark.parametrize(("hop_length", "n_fft"), [(160, 640), (200, 1024)])
def test_a_hop_of_samples_for_each_frame(frames: int, hop_length: int, n_fft: int) -> None:
    vocoder = FourierVocoder(**VOCODER, hop_length=hop_length, n_fft=n_fft)
    assert vocoder(torch.randn(2, frames, 16)).shape == (2, frames * hop_length)


def test_examples_are_independent_and_gradients_reach_every_weight() -> None:
    vocoder, mel = FourierVocoder(**VOCODER), torch.randn(2, 9, 16, requires_grad=True)
    waveform = vocoder(mel)
    torch.testing.assert_close(waveform[1:], vocoder(mel[1:]))
    waveform.square().sum().backward()
    assert mel.grad is not None
    assert mel.grad.abs().max() > 0
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in vocoder.parameters())


def test_a_wild_network_stays_finite() -> None:
    vocoder = FourierVocoder(**VOCODER)
    torch.nn.init.constant_(vocoder.head.bias, 1e4)
    assert vocoder(torch.randn(1, 9, 16)).isfinite().all()


def test_save_and_load_keep_every_bit(tmp_path: Path) -> None:
    vocoder, mel = FourierVocoder(**VOCODER), torch.randn(1, 9, 16)
    vocoder.save_pretrained(tmp_path)
    assert torch.equal(FourierVocoder.from_pretrained(tmp_path)(mel), vocoder(mel))


def test_it_learns_a_tone() -> None:
    """Phase and all, to 1 % of the energy, from the mel alone."""
    tone = 0.4 * torch.sin(2 * math.pi * 700 * torch.arange(32 * 160) / 16000)[None]
    mel = MelSpectrogram(n_mels=32)(tone + 0.01 * torch.randn_like(tone))
    vocoder = FourierVocoder(model_in_dim=32, channels=32, num_layers=1)
    optimizer = torch.optim.Adam(vocoder.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        loss = (vocoder(mel) - tone).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01 * tone.square().mean().item()


def test_noise_is_new_in_training_and_the_same_in_evaluation() -> None:
    vocoder, mel = FourierVocoder(**VOCODER, noise_channels=4), torch.randn(2, 20, 16)
    assert not torch.equal(vocoder(mel), vocoder(mel))
    vocoder.eval()
    assert torch.equal(vocoder(mel), vocoder(mel))
    features = mel.transpose(1, 2)
    assert torch.equal(vocoder.noise(features)[:, :, :9], vocoder.noise(features[..., :9]))
    assert vocoder.noise(features).std().item() == pytest.approx(1, abs=0.25)
