"""The discriminator of waveforms: shapes, independence of examples, and what it tells apart."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.components.discriminator import PatchDiscriminator, SpectrogramDiscriminator
from consistency_tta.runtime.errors import ConfigurationError


def test_one_stack_of_activations_for_each_resolution() -> None:
    scored = SpectrogramDiscriminator(n_ffts=[256, 512], overlap=0.75, channels=4)(torch.randn(2, 4096))
    assert [len(activations) for activations in scored] == [6, 6]
    # 129 and 257 frequencies, halved four times; hops of 64 and 128 samples.
    assert [tuple(activations[-1].shape) for activations in scored] == [(2, 1, 9, 65), (2, 1, 17, 33)]


def test_the_spectrogram_is_in_nepers_and_does_not_grow_with_the_window() -> None:
    discriminator = SpectrogramDiscriminator(n_ffts=[256, 2048], floor=1e-6)
    torch.manual_seed(0)
    noise = torch.randn(1, 200_000)
    short, long = (discriminator.spectrogram(noise, n_fft) for n_fft in (256, 2048))
    # Ten times the amplitude is log(10) more, and white noise looks alike at every resolution.
    torch.testing.assert_close(
        discriminator.spectrogram(10 * noise, 256) - torch.tensor(10.0).log(), short, atol=1e-3, rtol=0
    )
    assert short.mean().item() == pytest.approx(long.mean().item(), abs=0.02)
    assert discriminator.spectrogram(torch.zeros(1, 4096), 256).unique().item() == pytest.approx(-13.8155, abs=1e-3)


def test_examples_are_scored_one_by_one() -> None:
    discriminator, waveform = SpectrogramDiscriminator(n_ffts=[256], channels=4), torch.randn(2, 4096)
    torch.testing.assert_close(discriminator(waveform)[0][-1][1:], discriminator(waveform[1:])[0][-1])


@pytest.mark.parametrize("wrong", [{"n_ffts": []}, {"n_ffts": [16]}, {"overlap": 1.0}, {"floor": 0.0}])
def test_wrong_settings_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        SpectrogramDiscriminator(**wrong)


def test_mels_are_scored_patch_by_patch() -> None:
    torch.manual_seed(0)
    discriminator, mel = PatchDiscriminator(channels=4), torch.randn(1, 128, 64)
    (activations,) = discriminator(mel)
    assert [activation.shape[1] for activation in activations] == [4, 8, 16, 16, 1]
    verdicts = activations[-1]
    assert verdicts.shape[2:] == (6, 14)  # (64, 128) / 8, less one for each of the last two layers
    changed = mel.clone()
    changed[0, 64, 32] += 10
    rows, columns = (discriminator(changed)[0][-1] != verdicts)[0, 0].nonzero().T
    # A patch is 70 frames wide, so that a frame is seen by eight or nine patches, eight frames apart.
    assert len(set(columns.tolist())) in (8, 9)
    assert len(set(rows.tolist())) == 6  # all
    torch.testing.assert_close(discriminator(torch.cat([changed, mel]))[0][-1][1:], verdicts)
