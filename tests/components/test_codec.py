"""Sound to latents and back."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import SpeechT5HifiGan

from consistency_tta.components.codec import MelCodec
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.networks import hifigan
from consistency_tta.components.vocoder import FourierVocoder
from consistency_tta.runtime.errors import ModelFolderError, ShapeError
from tests.toys import MEL, NUM_SAMPLES, VAE, VOCODER


def codec(vocoder: torch.nn.Module | None = None, **vae: float) -> MelCodec:
    return MelCodec(MelSpectrogram(**MEL), AutoencoderKL(**VAE, **vae), vocoder or FourierVocoder(**VOCODER)).eval()


def test_latents_are_scaled_draws_of_the_posterior() -> None:
    parts = codec(scaling_factor=0.25)
    mel = parts.waveform_to_mel(0.1 * torch.randn(2, NUM_SAMPLES))
    moments = parts.mel_to_moments(mel)
    posterior = parts.vae.encode(mel[:, None]).latent_dist
    assert moments.shape == (2, 8, 8, 4)
    torch.testing.assert_close(parts.moments_to_latent(moments), 0.25 * posterior.mean)
    epsilon = torch.randn(2, 4, 8, 4)
    expected = 0.25 * (posterior.mean + posterior.std * epsilon)
    torch.testing.assert_close(parts.moments_to_latent(moments, epsilon), expected)
    for log_variance, limit in ((1e4, 20.0), (-1e4, -30.0)):
        extreme = torch.cat([torch.zeros(1, 4, 8, 4), torch.full((1, 4, 8, 4), log_variance)], dim=1)
        clamped = 0.25 * torch.tensor(limit / 2).exp() * epsilon[:1]
        torch.testing.assert_close(parts.moments_to_latent(extreme, epsilon[:1]), clamped)


def test_sound_and_latents_by_the_contract() -> None:
    parts, waveform = codec(scaling_factor=0.25), 0.1 * torch.randn(2, NUM_SAMPLES)
    assert (parts.sample_rate, parts.channels, parts.samples_per_frame) == (16000, 1, 640)
    moments = parts.encode(waveform[:, None])
    assert torch.equal(moments, parts.mel_to_moments(parts.waveform_to_mel(waveform)))
    latent = parts.moments_to_latent(moments)
    assert latent.shape[1:] == parts.latent_shape(NUM_SAMPLES)
    assert torch.equal(parts.decode(latent), parts.mel_to_waveform(parts.latent_to_mel(latent))[:, None])
    torch.testing.assert_close(parts.moments_to_latent(parts.latent_to_moments(latent)), latent)


def test_decoding_undoes_the_scale() -> None:
    parts = codec(scaling_factor=0.25)
    latent = torch.randn(2, 4, 8, 4)
    expected = parts.vae.decode(latent / 0.25).sample[:, 0]
    torch.testing.assert_close(parts.latent_to_mel(latent), expected)
    assert parts.latent_to_mel(latent).shape == (2, 32, 16)


def test_a_round_trip_keeps_the_length() -> None:
    waveform = 0.1 * torch.randn(2, NUM_SAMPLES)
    parts = codec()
    sound = parts.round_trip(waveform)
    assert sound.shape == waveform.shape
    assert not sound.requires_grad
    mean = parts.moments_to_latent(parts.mel_to_moments(parts.waveform_to_mel(waveform)))
    torch.testing.assert_close(sound, parts.mel_to_waveform(parts.latent_to_mel(mean)))


def test_gradients_pass_frozen_decoders() -> None:
    parts = codec().requires_grad_(False)
    latent = torch.randn(1, 4, 8, 4, requires_grad=True)
    parts.mel_to_waveform(parts.latent_to_mel(latent)).square().sum().backward()
    assert latent.grad is not None
    assert latent.grad.isfinite().all()
    assert latent.grad.abs().min() > 0
    assert all(parameter.grad is None for parameter in parts.parameters())


def test_hifigans_extra_samples_are_cropped() -> None:
    # Stride 5, kernel 16: (kernel - stride) // 2 rounds down, and the network returns a few samples too many.
    vocoder = hifigan(n_mels=16, channels=32)
    assert isinstance(vocoder, SpeechT5HifiGan)
    mel = torch.randn(2, 12, 16)
    raw = vocoder(mel)
    assert raw.shape[1] > 12 * 160
    sound = codec(vocoder).mel_to_waveform(mel)
    assert sound.shape == (2, 12 * 160)
    assert torch.equal(sound, raw[:, : 12 * 160])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_take_and_give_float32(dtype: torch.dtype) -> None:
    parts = codec()
    waveform = 0.1 * torch.randn(1, NUM_SAMPLES)
    expected = parts.round_trip(waveform)
    parts.vae.to(dtype)
    parts.vocoder.to(dtype)
    assert parts.mel_to_moments(parts.waveform_to_mel(waveform)).dtype == torch.float32
    sound = parts.round_trip(waveform)
    assert sound.dtype == torch.float32
    torch.testing.assert_close(sound, expected, atol=0.2 * float(expected.abs().max()), rtol=0)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ShapeError, match="30"):
        codec().mel_to_moments(torch.zeros(1, 30, 16))
    with pytest.raises(ShapeError, match="33"):
        codec().latent_shape(33 * 160)
    silent = MelCodec(MelSpectrogram(**MEL), AutoencoderKL(**VAE))
    with pytest.raises(ModelFolderError):
        silent.mel_to_waveform(torch.zeros(1, 32, 16))


@pytest.mark.parametrize("vocoder", ["fourier", "hifigan"])
def test_checkpointing_changes_nothing_but_the_memory(vocoder: str) -> None:
    def decode(parts: MelCodec) -> tuple[torch.Tensor, torch.Tensor, int]:
        kept: list[int] = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if not isinstance(tensor, torch.nn.Parameter):
                kept.append(tensor.nbytes)
            return tensor

        latent = start.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            sound = parts.mel_to_waveform(parts.latent_to_mel(latent))
        sound.square().sum().backward()
        return sound.detach(), latent.grad, sum(kept)

    start = torch.randn(1, 4, 8, 4)
    parts = codec(hifigan(n_mels=16, channels=32) if vocoder == "hifigan" else None).requires_grad_(False)
    sound, gradient, memory = decode(parts)
    parts.enable_gradient_checkpointing()
    again, gradient_again, memory_again = decode(parts)
    assert torch.equal(sound, again)
    assert torch.equal(gradient, gradient_again)
    assert memory_again < memory / 4
    with torch.no_grad():
        assert torch.equal(parts.mel_to_waveform(parts.latent_to_mel(start)), sound)
