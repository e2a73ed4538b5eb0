"""A new autoencoder of mels folded into patches, which begins as a cosine transform of each patch."""

from __future__ import annotations

from itertools import product
from math import cos, pi, sqrt
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from consistency_tta.runtime.errors import ConfigurationError

#: Of the constant channels, much larger than the others: a group's normalisation divides by them alone.
CONSTANT = 8.0


def patch_autoencoder(
    patch: int = 8,
    width: int = 128,
    latent_channels: int = 16,
    layers_per_block: int = 2,
    norm_num_groups: int = 8,
) -> AutoencoderKL:
    """An autoencoder of one level, which reads each patch of a mel as the channels of one position.

    An autoencoder that doubles its pictures' size by nearest neighbours learns fine structure last: an odd and an even
    pixel differ by their neighbours alone. This one folds the mel instead (torch's ``pixel_unshuffle``), and computes
    at the latents' size, where a layer costs 64 times less. It begins as a linear map, the lowest numbers of each
    patch's cosine transform, so that it starts with most of the mel and learns the rest.

    Sources: Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional
    neural network", 2016, https://arxiv.org/abs/1609.05158, section 3.2; Ahmed et al., "Discrete cosine transform",
    1974, https://doi.org/10.1109/T-C.1974.223784.

    Args:
        patch: frames and bins of a patch, by which time and frequency shrink.
        width: channels of all layers.
        latent_channels: C, at most ``patch`` ** 2.
        layers_per_block: residual blocks of the encoder; the decoder has one more, and each two in the middle.
        norm_num_groups: groups of the normalisations, of which each gives two channels to constants.

    Raises:
        ConfigurationError: if the linear map does not fit into the width.
    """
    free = width - 2 * norm_num_groups
    if latent_channels > min(patch**2, free // 2):
        raise ConfigurationError(
            f"expected latent_channels of at most patch^2 = {patch**2} and half of the {free} channels of width that "
            f"two constants in each of norm_num_groups leave, got {latent_channels}"
        )
    vae = AutoencoderKL(
        in_channels=patch**2,
        out_channels=patch**2,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(width,),
        layers_per_block=layers_per_block,
        latent_channels=latent_channels,
        norm_num_groups=norm_num_groups,
        mid_block_add_attention=False,
    )
    with torch.no_grad():
        _begin_linear(vae, *cosine_basis(patch, latent_channels))
    return vae


def cosine_basis(patch: int, count: int) -> tuple[Tensor, Tensor]:
    """The lowest ``count`` functions of a patch's cosine transform, lowest first.

    They are in the order of the product of their orders in time and frequency.

    Returns:
        Orthonormal rows (count, patch ** 2), and factors (count,) that bring a mel's numbers nearer to one size: their
        deviation falls with that product.
    """
    samples = [[cos(pi * k * (2 * t + 1) / (2 * patch)) for t in range(patch)] for k in range(patch)]
    rows = torch.tensor(samples) * torch.tensor([sqrt(1 / patch)] + (patch - 1) * [sqrt(2 / patch)])[:, None]
    lowest = sorted(product(range(patch), repeat=2), key=lambda order: ((order[0] + 1) * (order[1] + 1), order))[:count]
    basis = torch.stack([torch.outer(rows[time], rows[frequency]).flatten() for time, frequency in lowest])
    products = torch.tensor([float((time + 1) * (frequency + 1)) for time, frequency in lowest])
    factors = 0.75 * products.sqrt()
    factors[0] = 0.2  # the mean of a patch, eight times as large as the next
    return basis, factors


def _begin_linear(vae: AutoencoderKL, basis: Tensor, factors: Tensor) -> None:
    """Let residual blocks begin as identities between two linear layers; other channels stay as they were drawn.

    Each latent number goes through two channels, once with its sign changed, since ``silu(x) - silu(-x) = x``.
    """
    for block in vae.modules():
        if isinstance(getattr(block, "conv2", None), nn.Conv2d):
            _zero(block.conv2)
    groups, width = vae.config.norm_num_groups, vae.config.block_out_channels[0]
    size, count = width // groups, len(basis)
    free = [group * size + place for place in range(2, size) for group in range(groups)]
    plus, minus = free[:count], free[count : 2 * count]
    scale = CONSTANT * sqrt(2 / size)  # by which the normalisation divides

    def enter(layer: Any, weight: Tensor) -> None:
        for group in range(groups):
            for channel, value in ((group * size, CONSTANT), (group * size + 1, -CONSTANT)):
                layer.weight[channel] = 0
                layer.bias[channel] = value
        for channels, sign in ((plus, 1), (minus, -1)):
            layer.weight[channels] = 0
            layer.weight[channels, :, 1, 1] = sign * weight
            layer.bias[channels] = 0

    def leave(layer: Any, weight: Tensor, rows: slice) -> None:
        layer.weight.mul_(0.02)
        layer.bias.zero_()
        layer.weight[rows, plus, 1, 1] += scale * weight
        layer.weight[rows, minus, 1, 1] -= scale * weight

    encoder, decoder = vae.encoder, vae.decoder
    enter(encoder.conv_in, basis * factors[:, None])
    leave(encoder.conv_out, torch.eye(count), slice(count))
    encoder.conv_out.bias[count:] = -4.0  # log-variances
    enter(decoder.conv_in, torch.eye(count))
    leave(decoder.conv_out, basis.T / factors, slice(None))
    for layer in (vae.quant_conv, vae.post_quant_conv):
        nn.init.dirac_(layer.weight)
        layer.bias.zero_()


def _zero(layer: Any) -> None:
    layer.weight.zero_()
    layer.bias.zero_()
