"""Blocks of MobileNetV3, from which mn04_as is built."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, stride: int, groups: int, activation: type[nn.Module] | None
) -> nn.Sequential:
    """Convolution, normalisation, activation; (B, in_channels, F, T) -> (B, out_channels, F / stride, T / stride)."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels, eps=1e-3),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate in (0, 1) computed from the means of all channels; (B, C, F, T) -> (B, C, F, T).

    Source: Jie Hu et al., "Squeeze-and-Excitation Networks", 2018, https://arxiv.org/abs/1709.01507, equations 2-4.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, T) -> (B, C, F, T)."""
        gate = torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class InvertedResidual(nn.Module):
    """MobileNet's block: widen, filter each channel by itself, gate, narrow; with a bypass where shapes agree.

    Source: Mark Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018,
    https://arxiv.org/abs/1801.04381, figure 4.
    """

    def __init__(
        self,
        in_channels: int,
        expanded: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        squeezed: int,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        self.bypass = stride == 1 and in_channels == out_channels
        layers: list[nn.Module] = []
        if expanded != in_channels:
            layers.append(convolution(in_channels, expanded, 1, 1, 1, activation))
        layers.append(convolution(expanded, expanded, kernel_size, stride, expanded, activation))
        if squeezed:
            layers.append(SqueezeExcitation(expanded, squeezed))
        layers.append(convolution(expanded, out_channels, 1, 1, 1, None))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, F, T) -> (B, out_channels, F / stride, T / stride), rounded up."""
        return x + self.block(x) if self.bypass else self.block(x)
