"""Layers whose weights are kept in the order in which the processor multiplies them, for generation on a CPU.

PyTorch brings weights into that order at each call otherwise, which takes as long as the multiplication itself where
pictures are small. These are the operators that ``torch.compile`` puts in their place, too.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor, nn

#: Private operators of PyTorch, which inductor uses; without them nothing is packed.
OPERATORS = (
    "_reorder_linear_weight",
    "_linear_pointwise",
    "_reorder_convolution_weight",
    "_convolution_pointwise",
)


class PackedLinear(nn.Module):
    """A linear layer; the order of its weights is chosen at the first call."""

    weight: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self.register_buffer("weight", linear.weight.detach(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """(*, inputs) -> (*, outputs)."""
        operators: Any = torch.ops.mkldnn
        if not self.weight.is_mkldnn:
            rows = features.numel() // features.shape[-1]
            self.weight = operators._reorder_linear_weight(self.weight, rows)
        return operators._linear_pointwise(features, self.weight, self.bias, "none", [], "")


class PackedConv2d(nn.Module):
    """A convolution of pictures, channels last; the order of its weights is chosen at the first call.

    Args:
        conv: what is replaced, with padding by zeros.
    """

    weight: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.bias = conv.bias
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.register_buffer("weight", conv.weight.detach(), persistent=False)

    def forward(self, pictures: Tensor, added: Tensor | None = None, leaky_slope: float | None = None) -> Tensor:
        """Pictures (B, C, H, W) -> (B, C', H', W'); plus others of that shape, or through a leaky ReLU."""
        operators: Any = torch.ops.mkldnn
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        if not self.weight.is_mkldnn:
            self.weight = operators._reorder_convolution_weight(
                self.weight.contiguous(memory_format=torch.channels_last), *self.geometry, list(pictures.shape)
            )
        layer = (self.weight, self.bias, *self.geometry)
        if added is not None:
            return operators._convolution_pointwise.binary(pictures, added, *layer, "add", 1.0, None, [], None)
        activation = ("none", []) if leaky_slope is None else ("leaky_relu", [leaky_slope])
        return operators._convolution_pointwise(pictures, *layer, *activation, "")


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether packed layers work in a number format on a device."""
    return (
        device.type == "cpu"
        and platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and dtype in (torch.float32, torch.bfloat16)
        and all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS)
    )


def pack_layers(network: nn.Module) -> int:
    """Replace the linear layers and the convolutions of pictures of a network; returns how many were.

    The network can only generate afterwards, and its weights must not change any more.
    """
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if (type(child) is nn.Linear or (type(child) is nn.Conv2d and child.padding_mode == "zeros"))
        and can_pack(child.weight.dtype, child.weight.device)
    ]
    for parent, name, child in found:
        setattr(parent, name, PackedLinear(child) if isinstance(child, nn.Linear) else PackedConv2d(child))
    return len(found)
