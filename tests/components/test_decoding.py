"""Decoding in pieces equals decoding at once, and the overlap is what one sample depends on."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderOobleck

from consistency_tta.components import decoding
from consistency_tta.components.codec import MelCodec
from consistency_tta.components.decoding import decode, hifigan_reach, oobleck_reach
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.networks import autoencoder, hifigan
from consistency_tta.components.waveform_codec import WaveformCodec
from consistency_tta.contracts import Codec


def mel_codec() -> MelCodec:
    vae = autoencoder([8, 8], norm_num_groups=4, attention=False)
    vocoder = hifigan(n_mels=8, channels=32, upsample_rates=[5, 4, 4, 2], upsample_kernel_sizes=[11, 8, 8, 4])
    return MelCodec(MelSpectrogram(n_mels=8), vae, vocoder).eval()


def oobleck(strides: list[int]) -> AutoencoderOobleck:
    return AutoencoderOobleck(8, strides, [1] * len(strides), 4, 4, audio_channels=2, sampling_rate=8000).eval()


@torch.no_grad()
def touched(network: torch.nn.Module, frames: torch.Tensor, dim: int, samples_per_frame: int) -> int:
    """Frames to either side of the middle one that a NaN there reaches in the waveform."""
    middle = frames.shape[dim] // 2
    frames.select(dim, middle).fill_(torch.nan)
    reached = network(frames).isnan().reshape(-1, network(frames).shape[-1]).any(0).nonzero()
    return max(middle - reached.min().item() // samples_per_frame, reached.max().item() // samples_per_frame - middle)


def test_the_reach_covers_all_that_a_frame_touches_and_little_more() -> None:
    codec, vae = mel_codec(), oobleck([4, 2])
    reach = hifigan_reach(codec.vocoder)
    assert reach - 4 <= touched(codec.vocoder, torch.randn(1, 90, 8), 1, 160) <= reach
    reach = oobleck_reach(vae)
    found = touched(lambda latent: vae.decode(latent).sample, torch.randn(1, 4, 90), 2, vae.hop_length)
    assert reach - 4 <= found <= reach


@torch.no_grad()
@pytest.mark.parametrize(
    "make", [mel_codec, lambda: WaveformCodec(oobleck([4, 2])), lambda: WaveformCodec(oobleck([5, 3]))]
)
def test_pieces_equal_the_whole(make: type[Codec], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    codec = make()
    latent = torch.randn(3, 8, 80, 4) if isinstance(codec, MelCodec) else torch.randn(3, 4, 160)
    whole, calls = codec.decode(latent), []
    in_pieces = decoding.in_pieces
    monkeypatch.setattr(decoding, "in_pieces", lambda *given: calls.append(given) or in_pieces(*given))
    seconds = 37 * codec.samples_per_frame / codec.sample_rate
    torch.testing.assert_close(decode(codec, latent, seconds), whole, atol=1e-5, rtol=1e-4)
    assert len(calls) == 3  # each sound by itself
    torch.testing.assert_close(decode(codec, latent), whole, atol=1e-5, rtol=1e-4)
