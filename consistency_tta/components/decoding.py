"""Latents to sound with bounded memory: few sounds at a time, and long ones in pieces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import AutoencoderOobleck
from torch import Tensor, nn
from transformers import SpeechT5HifiGan

from consistency_tta.components.codec import MelCodec
from consistency_tta.components.waveform_codec import WaveformCodec
from consistency_tta.contracts import Codec

#: Seconds of sound that are decoded at a time on a CPU, where more is not faster, and elsewhere.
CPU_SECONDS, DEVICE_SECONDS = 12.0, 120.0


def decode(codec: Codec, latent: Tensor, seconds: float | None = None) -> Tensor:
    """Decode latents, so many seconds of sound at a time.

    The result is that of ``codec.decode`` up to rounding. HiFi-GAN and Oobleck, whose activations are as long as the
    waveform, decode a longer sound in pieces, which overlap by what one output sample depends on. Autoencoders of mels
    normalise over the whole sound, and are decoded whole; they need a fifth of HiFi-GAN's memory.

    Args:
        codec: of the latents.
        latent: (B, C, *), scaled.
        seconds: decoded at a time; by default 12 on a CPU and 120 on other devices.

    Returns:
        (B, channels, samples).
    """
    if seconds is None:
        seconds = CPU_SECONDS if latent.device.type == "cpu" else DEVICE_SECONDS
    budget = max(1, int(seconds * codec.sample_rate))
    sounds = max(1, budget // (latent.shape[2] * codec.samples_per_frame))
    return torch.cat([_decode_sounds(codec, part, budget) for part in latent.split(sounds)])


def _decode_sounds(codec: Codec, latent: Tensor, samples: int) -> Tensor:
    if isinstance(codec, MelCodec) and isinstance(codec.vocoder, SpeechT5HifiGan):
        hop_length: int = codec.mel.config["hop_length"]
        mel, reach = codec.latent_to_mel(latent), hifigan_reach(codec.vocoder)
        return in_pieces(codec.mel_to_waveform, mel, 1, hop_length, samples // hop_length, reach)[:, None]
    if isinstance(codec, WaveformCodec) and isinstance(codec.vae, AutoencoderOobleck):
        length = codec.samples_per_frame
        return in_pieces(codec.decode, latent, 2, length, samples // length, oobleck_reach(codec.vae))
    return codec.decode(latent)


def in_pieces(
    network: Callable[[Tensor], Tensor], frames: Tensor, dim: int, samples_per_frame: int, length: int, reach: int
) -> Tensor:
    """Run a convolutional network on pieces of its input.

    Args:
        network: frames to waveform (..., samples).
        frames: with time in dimension ``dim``.
        dim: of time.
        samples_per_frame: that the network makes.
        length: frames of a piece, without the overlap.
        reach: frames to each side on which a frame's samples depend.
    """
    total = frames.shape[dim]
    if total <= length + 2 * reach:
        return network(frames)
    pieces = []
    for start in range(0, total, max(1, length)):
        stop = min(start + max(1, length), total)
        low, high = max(0, start - reach), min(total, stop + reach)
        made = network(frames.narrow(dim, low, high - low))
        pieces.append(made[..., (start - low) * samples_per_frame : (stop - low) * samples_per_frame])
    return torch.cat(pieces, dim=-1)


def hifigan_reach(vocoder: SpeechT5HifiGan) -> int:
    """Mel frames to each side on which a sample of HiFi-GAN depends."""
    config = vocoder.config
    widest = max(
        sum((kernel - 1) // 2 * (dilation + 1) for dilation in dilations)
        for kernel, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
    )
    reach = 3.0  # of the last layer, in samples
    for rate, kernel in zip(config.upsample_rates[::-1], config.upsample_kernel_sizes[::-1], strict=True):
        reach = (reach + widest + kernel / 2) / rate
    return int(reach + 3) + 2


def oobleck_reach(vae: AutoencoderOobleck) -> int:
    """Latent frames to each side on which a sample of Oobleck's decoder depends."""
    reach = 3.0  # of the last layer, in samples
    for block in list(vae.decoder.block)[::-1]:
        layers = [layer for layer in block.modules() if isinstance(layer, nn.Conv1d)]
        widest = sum((layer.kernel_size[0] - 1) // 2 * layer.dilation[0] for layer in layers)
        reach = (reach + widest + block.conv_t1.kernel_size[0] / 2) / block.conv_t1.stride[0]
    return int(reach + 3) + 2
