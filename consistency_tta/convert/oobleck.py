"""The waveform autoencoder of Stable Audio, whose form is read from its weights."""

from __future__ import annotations

from collections.abc import Mapping

from diffusers import AutoencoderOobleck
from torch import Tensor

from consistency_tta.convert.exact import build_matching, count, shape


def oobleck(tensors: Mapping[str, Tensor], sample_rate: int, origin: object) -> AutoencoderOobleck:
    """An autoencoder of diffusers with exactly these weights, under diffusers' names.

    Args:
        tensors: its weights, and no others.
        sample_rate: in Hz, which weights do not tell.
        origin: where they come from, in messages.
    """
    what = "an AutoencoderOobleck"
    hidden, channels, _ = shape(tensors, "encoder.conv1.weight_v", what, origin)
    # A level that shortens its input by a factor n has a convolution of 2 n taps.
    levels = [
        shape(tensors, f"encoder.block.{level}.conv1.weight_v", what, origin)
        for level in range(count(tensors, "encoder.block.{}.conv1.weight_v"))
    ]
    return build_matching(
        lambda: AutoencoderOobleck(
            encoder_hidden_size=hidden,
            downsampling_ratios=[taps // 2 for _, _, taps in levels],
            channel_multiples=[width // hidden for width, _, _ in levels],
            decoder_channels=shape(tensors, "decoder.conv2.weight_v", what, origin)[1],
            decoder_input_channels=shape(tensors, "decoder.conv1.weight_v", what, origin)[1],
            audio_channels=channels,
            sampling_rate=sample_rate,
        ),
        tensors,
        what,
        origin,
    )
