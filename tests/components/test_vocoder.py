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


def excited(**settings: int) -> FourierVocoder:
    """A vocoder with noise excitation for mels of 64 bins, whose network contributes nothing yet."""
    vocoder = FourierVocoder(channels=16, num_layers=1, noise_channels=2, noise_excitation=True, **settings)
    torch.nn.init.zeros_(vocoder.head.weight)
    return vocoder.eval()


def test_noise_is_new_in_training_and_the_same_in_evaluation() -> None:
    for vocoder in (FourierVocoder(**VOCODER, noise_channels=4), excited(model_in_dim=16)):
        mel = torch.randn(2, 20, 16)
        vocoder.train()
        torch.nn.init.normal_(vocoder.head.weight)
        assert not torch.equal(vocoder(mel), vocoder(mel))
        vocoder.eval()
        assert torch.equal(vocoder(mel), vocoder(mel))
        assert torch.equal(vocoder.noise(mel)[:, :, :9], vocoder.noise(mel[:, :9]))
        assert vocoder.noise(mel).std().item() == pytest.approx(1, abs=0.25)


def test_a_longer_sound_begins_as_a_shorter_one() -> None:
    vocoder, mel = excited(), torch.randn(1, 600, 64) - 5
    torch.testing.assert_close(vocoder(mel[:, :550])[:, : 540 * 160], vocoder(mel)[:, : 540 * 160])


def test_untrained_noise_excitation_gives_noise_its_mel() -> None:
    """Of white noise and of noise that a filter has coloured; a logarithm's mean lies a little too low."""
    white = 0.1 * torch.randn(1, 81920)
    coloured = torch.nn.functional.conv1d(white[None], torch.tensor([[[0.5, 1.0, 0.5]]]), padding=1)[0]
    wanted = MelSpectrogram()(torch.cat([white, coloured]))
    sound = excited()(wanted)
    assert sound[0].std().item() == pytest.approx(0.1, rel=0.25)
    assert (MelSpectrogram()(sound).mean(1) - wanted.mean(1))[:, 4:60].abs().max() < 0.4


def test_noise_excitation_saves_and_trains(tmp_path: Path) -> None:
    vocoder, mel = excited(), torch.randn(1, 9, 64)
    vocoder.save_pretrained(tmp_path)
    assert torch.equal(FourierVocoder.from_pretrained(tmp_path).eval()(mel), vocoder(mel))
    assert all(name.split(".")[0] != "inverse_stft" for name in vocoder.state_dict())
    vocoder(mel).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vocoder.parameters())


def test_it_exports_without_complex_numbers() -> None:
    """The graph of any number of frames computes what the vocoder does."""
    vocoder, mel = excited().requires_grad_(False), torch.randn(1, 24, 64)
    frames = torch.export.Dim("frames", min=8, max=2048)
    program = torch.export.export(vocoder, (mel,), dynamic_shapes=({1: frames},))
    values = [node.meta["val"] for node in program.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)]
    assert not any(value.is_complex() for value in values)
    assert not any("fft" in str(node.target) for node in program.graph.nodes)
    longer = torch.randn(1, 40, 64)
    torch.testing.assert_close(program.module()(longer), vocoder(longer))
