"""A codec of waveforms over a tiny Oobleck autoencoder."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderOobleck

from consistency_tta.components.codec import MelCodec
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.narrow_convolutions import compute_narrow_in_float32
from consistency_tta.components.waveform_codec import WaveformCodec
from consistency_tta.contracts import Batch, DistillationOutput, MelDecoder
from consistency_tta.losses import MelL1Loss, MultiResolutionSTFTLoss
from consistency_tta.runtime.errors import ConfigurationError, ShapeError
from tests.toys import OOBLECK, STEREO_SAMPLES, toy_parts


def codec(**config: object) -> WaveformCodec:
    return WaveformCodec(AutoencoderOobleck(**(OOBLECK | config))).eval()


def test_latents_are_draws_of_the_posterior() -> None:
    parts = codec()
    waveform = 0.1 * torch.randn(2, 2, STEREO_SAMPLES)
    moments = parts.encode(waveform)
    posterior = parts.vae.encode(waveform).latent_dist
    assert moments.shape == (2, 8, 16)
    assert parts.latent_shape(STEREO_SAMPLES) == (4, 16)
    torch.testing.assert_close(parts.moments_to_latent(moments), posterior.mean)
    epsilon = torch.randn(2, 4, 16)
    torch.testing.assert_close(parts.moments_to_latent(moments, epsilon), posterior.mean + posterior.std * epsilon)


@pytest.mark.parametrize("ratios", [[2, 4, 8], [3, 5, 2]])
def test_decoding_gives_every_sample_of_both_channels(ratios: list[int]) -> None:
    parts = codec(downsampling_ratios=ratios)
    latent = torch.randn(2, 4, 16, requires_grad=True)
    sound = parts.decode(latent)
    assert sound.shape == (2, 2, 16 * parts.samples_per_frame)
    assert not torch.allclose(sound[:, 0], sound[:, 1])
    assert parts.encode(sound.detach()).shape == (2, 8, 16)
    sound.square().sum().backward()
    assert latent.grad is not None
    assert latent.grad.abs().min() > 0


def test_a_scaling_factor_in_the_configuration_is_used(tmp_path) -> None:
    parts = codec()
    parts.vae.register_to_config(scaling_factor=0.25)
    parts.vae.save_pretrained(tmp_path)
    scaled = WaveformCodec(AutoencoderOobleck.from_pretrained(tmp_path)).eval()
    moments = parts.encode(0.1 * torch.randn(1, 2, STEREO_SAMPLES))
    latent = scaled.moments_to_latent(moments)
    torch.testing.assert_close(latent, 0.25 * parts.moments_to_latent(moments))
    torch.testing.assert_close(scaled.decode(latent), parts.decode(4 * latent))
    mean, log_variance = scaled.latent_to_moments(latent).chunk(2, dim=1)
    torch.testing.assert_close(mean, moments.chunk(2, dim=1)[0])
    assert (log_variance <= -30).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_take_and_give_float32(dtype: torch.dtype) -> None:
    parts, waveform = codec(), 0.1 * torch.randn(1, 2, STEREO_SAMPLES)
    moments = parts.encode(waveform)
    expected = parts.decode(parts.moments_to_latent(moments))
    compute_narrow_in_float32(parts.vae.to(dtype))  # its 8 channels are not what published autoencoders have
    again = parts.encode(waveform)
    assert again.dtype == torch.float32
    torch.testing.assert_close(again, moments, atol=0.05 * float(moments.abs().max()), rtol=0)
    sound = parts.decode(parts.moments_to_latent(moments))
    assert sound.dtype == torch.float32
    torch.testing.assert_close(sound, expected, atol=0.05 * float(expected.abs().max()), rtol=0)


def test_mono_recordings_are_encoded_as_both_channels() -> None:
    parts, mono = codec(), 0.1 * torch.randn(2, STEREO_SAMPLES)
    torch.testing.assert_close(parts.encode(mono), parts.encode(torch.stack([mono, mono], dim=1)))


def test_checkpointing_changes_nothing() -> None:
    parts, start = codec().requires_grad_(False), torch.randn(1, 4, 16)

    def decode() -> tuple[torch.Tensor, torch.Tensor]:
        latent = start.clone().requires_grad_()
        sound = parts.decode(latent)
        sound.square().sum().backward()
        return sound.detach(), latent.grad

    before = decode()
    parts.enable_gradient_checkpointing()
    for one, other in zip(before, decode(), strict=True):
        assert torch.equal(one, other)


def test_wrong_lengths_and_rates_are_named() -> None:
    with pytest.raises(ShapeError, match="65"):
        codec().encode(torch.zeros(1, 2, 65))
    with pytest.raises(ShapeError, match="100"):
        codec().latent_shape(100)
    with pytest.raises(ConfigurationError, match="16000"):
        WaveformCodec(AutoencoderOobleck(**OOBLECK), MelSpectrogram())


def output(parts: WaveformCodec | MelCodec, latent: torch.Tensor, recording: torch.Tensor) -> DistillationOutput:
    t = torch.full((len(latent),), 500.0)
    batch = Batch(["a"] * len(latent), ["1"] * len(latent), recording)
    return DistillationOutput(latent, torch.randn_like(latent), latent, t, t, t, batch, parts)


def test_losses_of_mono_sound_and_of_mels_work_on_stereo() -> None:
    parts = codec().requires_grad_(False)
    assert not isinstance(parts, MelDecoder)
    latent = torch.randn(2, 4, 32, requires_grad=True)
    recording = 0.1 * torch.randn(2, 2, 32 * parts.samples_per_frame)
    out = output(parts, latent, recording)
    assert torch.equal(out.student_waveform, parts.decode(latent).mean(1))
    assert torch.equal(out.student_mel, parts.waveform_to_mel(out.student_waveform))
    assert torch.equal(out.reference_audio, recording)
    assert torch.equal(out.reference_waveform, recording.mean(1))
    assert not out.target_audio.requires_grad
    for loss in (MelL1Loss(), MultiResolutionSTFTLoss()):
        latent.grad = None
        loss(out).sum().backward(retain_graph=True)
        assert latent.grad is not None
        assert latent.grad.flatten(1).abs().amax(1).min() > 0


def test_a_crop_cuts_what_is_decoded_and_not_the_latents() -> None:
    parts, latent = codec().requires_grad_(False), torch.randn(2, 4, 32)
    out = output(parts, latent, torch.zeros(2, 2, 8 * parts.samples_per_frame))
    out.crop = lambda whole: whole[:, :, 4:12]
    assert torch.equal(out.student_audio, parts.decode(latent[:, :, 4:12]))
    assert out.target_audio.shape == out.reference_audio.shape
    assert out.student_latent is latent


def test_a_codec_of_mels_decodes_its_mel_once_for_both() -> None:
    toys = toy_parts()
    parts = MelCodec(toys["mel"], toys["vae"], toys["vocoder"]).eval()
    assert isinstance(parts, MelDecoder)
    latent = torch.randn(1, 4, 8, 4)
    out = output(parts, latent, torch.zeros(1, 2, 32 * 160))
    assert torch.equal(out.student_mel, parts.latent_to_mel(latent))
    assert torch.equal(out.student_audio, parts.decode(latent))
    assert torch.equal(out.student_waveform, out.student_audio[:, 0])
    assert out.reference_audio.shape == (1, 1, 32 * 160)
