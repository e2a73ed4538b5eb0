"""HiFi-GAN for generation on a CPU: pictures of one row, channels last, with packed weights."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import SpeechT5HifiGan
from transformers.models.speecht5.modeling_speecht5 import HifiGanResidualBlock

from consistency_tta.components.packed_layers import PackedConv2d, can_pack


def pack_hifigan(vocoder: SpeechT5HifiGan) -> None:
    """Change a HiFi-GAN without weight norm in place: the same waveforms up to rounding, faster.

    Sums and most activations become parts of the convolutions. The vocoder can only generate afterwards.
    """
    if not can_pack(vocoder.conv_pre.weight.dtype, vocoder.conv_pre.weight.device):
        return
    vocoder.conv_pre, vocoder.conv_post = _packed([vocoder.conv_pre, vocoder.conv_post])
    vocoder.upsampler = nn.ModuleList(map(RowUpsampling, vocoder.upsampler))
    for block in vocoder.resblocks:
        block.convs1, block.convs2 = _packed(block.convs1), _packed(block.convs2)
    vocoder.forward = partial(_waveform, vocoder)


class RowUpsampling(nn.Module):
    """A transposed convolution over time, of pictures (B, C, 1, T)."""

    weight: Tensor

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        super().__init__()
        weight = conv.weight.detach()[:, :, None].contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", weight, persistent=False)
        self.bias, self.stride, self.padding = conv.bias, (1, conv.stride[0]), (0, int(conv.padding[0]))

    def forward(self, rows: Tensor) -> Tensor:
        """(B, C, 1, T) -> (B, C', 1, T')."""
        return F.conv_transpose2d(rows, self.weight, self.bias, self.stride, self.padding)


def _packed(convs: Iterable[nn.Module]) -> nn.ModuleList:
    """Convolutions over time as those of pictures (B, C, 1, T)."""
    packed = []
    for conv in convs:
        assert isinstance(conv, nn.Conv1d)
        picture = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            kernel_size=(1, conv.kernel_size[0]),
            padding=(0, int(conv.padding[0])),
            dilation=(1, conv.dilation[0]),
            device="meta",
        )
        picture.weight, picture.bias = nn.Parameter(conv.weight.detach()[:, :, None], False), conv.bias
        packed.append(PackedConv2d(picture))
    return nn.ModuleList(packed)


def _waveform(vocoder: SpeechT5HifiGan, mel: Tensor) -> Tensor:
    """What ``SpeechT5HifiGan.forward`` returns for mels (B, frames, bins): waveforms (B, samples)."""
    config = vocoder.config
    if config.normalize_before:
        mel = (mel - vocoder.mean) / vocoder.scale
    rows, kernels = vocoder.conv_pre(mel.transpose(1, 2)[:, :, None]), vocoder.num_kernels
    for level, upsample in enumerate(vocoder.upsampler):
        rows = upsample(F.leaky_relu(rows, config.leaky_relu_slope)).contiguous(memory_format=torch.channels_last)
        activated = F.leaky_relu(rows, config.leaky_relu_slope)
        total = torch.zeros_like(rows)
        for block in vocoder.resblocks[level * kernels : (level + 1) * kernels]:
            total += _residual(block, rows, activated)
        rows = total / kernels
    return torch.tanh(vocoder.conv_post(F.leaky_relu(rows))).flatten(1)


def _residual(block: HifiGanResidualBlock, rows: Tensor, activated: Tensor) -> Tensor:
    """What a block makes of rows, which are also given through its activation."""
    for number, (first, second) in enumerate(zip(block.convs1, block.convs2, strict=True)):
        if number:
            activated = F.leaky_relu(rows, block.leaky_relu_slope)
        rows = second(first(activated, leaky_slope=block.leaky_relu_slope), added=rows)
    return rows
