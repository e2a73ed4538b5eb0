"""AudioLDM's autoencoder and HiFi-GAN, under their published names, to the classes of diffusers and transformers.

Sources: Liu et al., "AudioLDM: Text-to-Audio Generation with Latent Diffusion Models", 2023,
https://arxiv.org/abs/2301.12503, whose module definitions (https://github.com/haoheliu/AudioLDM,
``audioldm/variational_autoencoder`` and ``audioldm/hifigan``) TANGO and ConsistencyTTA use unchanged; Kong et al.,
"HiFi-GAN", 2020, https://arxiv.org/abs/2010.05646.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import SpeechT5HifiGan

from consistency_tta.components import networks
from consistency_tta.convert.exact import build_matching, count, shape

#: Names in diffusers to names in AudioLDM, which counts the decoder's levels from the other end.
RENAMED = [
    (r"(encoder)\.down_blocks\.(\d+)\.resnets\.", r"\1.down.\2.block."),
    (r"(encoder)\.down_blocks\.(\d+)\.downsamplers\.0\.", r"\1.down.\2.downsample."),
    (r"(decoder)\.up_blocks\.(\d+)\.resnets\.", r"\1.up.\2.block."),
    (r"(decoder)\.up_blocks\.(\d+)\.upsamplers\.0\.", r"\1.up.\2.upsample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.to_([qkv])\.", r".mid.attn_1.\1."),
    (r"\.mid_block\.attentions\.0\.to_out\.0\.", ".mid.attn_1.proj_out."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
]


def published_name(name: str, levels: int) -> str:
    """What AudioLDM calls a weight of an ``AutoencoderKL`` with so many levels."""
    name = re.sub(r"(?<=up_blocks\.)\d+", lambda match: str(levels - 1 - int(match[0])), name)
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def autoencoder(tensors: Mapping[str, Tensor], scale_factor: float, origin: object) -> AutoencoderKL:
    """The autoencoder of mel spectrograms.

    Args:
        tensors: ``encoder.*``, ``decoder.*``, ``quant_conv.*`` and ``post_quant_conv.*``, and no others.
        scale_factor: brings latents to unit variance.
        origin: where the weights come from, in messages.
    """
    what = "AudioLDM's autoencoder"
    first = "encoder.down.{}.block.0.conv1.weight"
    shape(tensors, first.format(0), what, origin)
    channels = [tensors[first.format(level)].shape[0] for level in range(count(tensors, first))]
    vae = build_matching(
        partial(
            networks.autoencoder,
            channels=channels,
            latent_channels=shape(tensors, "post_quant_conv.weight", what, origin)[1],
            layers_per_block=count(tensors, "encoder.down.0.block.{}.conv1.weight"),
        ),
        tensors,
        what,
        origin,
        lambda name: published_name(name, len(channels)),
    )
    vae.register_to_config(scaling_factor=scale_factor)
    return vae


def vocoder(tensors: Mapping[str, Tensor], sample_rate: int, origin: object) -> SpeechT5HifiGan:
    """HiFi-GAN with AudioLDM's upsampling, which the weights do not show.

    Args:
        tensors: ``conv_pre.*``, ``ups.*``, ``resblocks.*`` and ``conv_post.*``, and no others; with weight norm, in
            either of torch's forms, or without.
        sample_rate: of what it makes, in Hz.
        origin: where the weights come from, in messages.
    """
    what = "AudioLDM's HiFi-GAN"
    tensors = without_weight_norm(tensors)
    channels, n_mels, _ = shape(tensors, "conv_pre.weight", what, origin)
    # Statistics of the mel that SpeechT5 subtracts and divides by; AudioLDM has none (normalize_before=False).
    neutral = {"mean": torch.zeros(n_mels), "scale": torch.ones(n_mels)}
    return build_matching(
        partial(networks.hifigan, n_mels=n_mels, sample_rate=sample_rate, channels=channels),
        neutral | dict(tensors),
        what,
        origin,
        lambda name: name.replace("upsampler.", "ups."),
    )


def without_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights w = g v / |v| of their length g and direction v; the norm is over all dimensions but g's own.

    Source: Salimans and Kingma, "Weight Normalization", 2016, https://arxiv.org/abs/1602.07868, equation 2.
    """
    folded = dict(tensors)
    for length_suffix, direction_suffix in (
        ("weight_g", "weight_v"),
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ):
        for name in [name for name in tensors if name.endswith("." + length_suffix)]:
            module = name.removesuffix(length_suffix)
            if module + direction_suffix in tensors:
                length, direction = folded.pop(name).float(), folded.pop(module + direction_suffix).float()
                normed = [axis for axis, size in enumerate(length.shape) if size == 1]
                norm = torch.linalg.vector_norm(direction, dim=normed, keepdim=True)
                folded[module + "weight"] = length * direction / norm
    return folded
