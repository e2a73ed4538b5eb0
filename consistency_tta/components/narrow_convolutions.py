"""Convolutions of few channels in float32, where the processor's bfloat16 is wrong for them.

On processors with AMX (Intel's from 2023 on) the bfloat16 kernels of oneDNN in torch 2.13 return wrong sums for some
convolutions of few channels and many taps, such as 8 channels by 8 taps or 16 by 4, and wrong gradients of transposed
ones; a patch embedding of 1 channel by 16 x 16 with a stride of 10 returned NaN. Wider ones that were tried were right,
and all of the bundled networks. Like errors: https://github.com/pytorch/pytorch/issues/169688 and
https://github.com/uxlfoundation/oneDNN/issues/5717. Without AMX (``ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16``) all are
right, at a fifth of the speed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: Channels of a group below which, and taps along the last dimension from which on, bfloat16 is avoided.
CHANNELS, TAPS = 32, 4


class _InFloat32:
    """A convolution that computes in float32, and returns bfloat16 where the layer it was does. Copies do so, too."""

    def forward(self: Any, features: Tensor, *arguments: Any) -> Tensor:
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else features.dtype
        if features.device.type != "cpu" or dtype != torch.bfloat16:
            return super().forward(features, *arguments)  # type: ignore[misc]  # the layer's
        with torch.autocast("cpu", enabled=False):
            return self.compute(features.float(), *arguments).to(dtype)


class _Narrow(_InFloat32):
    def compute(self: Any, features: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.float()
        return self._conv_forward(features, self.weight.float(), bias)


class _NarrowTransposed(_InFloat32):
    def compute(self: Any, features: Tensor, *arguments: Any) -> Tensor:
        # The sums of weights in bfloat16 are right; gradients, which are not, are taken of float32 weights alone.
        return super(_InFloat32, self).forward(features.to(self.weight.dtype), *arguments)  # type: ignore[misc]


class NarrowConv1d(_Narrow, nn.Conv1d):
    """Of sounds."""


class NarrowConv2d(_Narrow, nn.Conv2d):
    """Of pictures."""


class NarrowConvTranspose1d(_NarrowTransposed, nn.ConvTranspose1d):
    """Of sounds, transposed."""


class NarrowConvTranspose2d(_NarrowTransposed, nn.ConvTranspose2d):
    """Of pictures, transposed."""


#: What takes the place of which layer.
NARROW: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: NarrowConv1d,
    nn.Conv2d: NarrowConv2d,
    nn.ConvTranspose1d: NarrowConvTranspose1d,
    nn.ConvTranspose2d: NarrowConvTranspose2d,
}


def wrong_in_bfloat16() -> bool:
    """Whether this processor has the kernels that are wrong."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16"))


def compute_narrow_in_float32(network: nn.Module) -> int:
    """Have all convolutions of few channels in a network compute in float32; returns how many there are."""
    layers: list[Any] = [layer for layer in network.modules() if type(layer) in NARROW]
    found = [layer for layer in layers if layer.kernel_size[-1] >= TAPS and _channels(layer) < CHANNELS]
    for layer in found:
        layer.__class__ = NARROW[type(layer)]
    return len(found)


def _channels(layer: Any) -> int:
    """Over which the forward pass sums, or the backward pass of a transposed convolution."""
    return (layer.out_channels if layer.transposed else layer.in_channels) // layer.groups
