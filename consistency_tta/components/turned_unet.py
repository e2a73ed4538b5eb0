"""A U-Net that works on pictures turned by a right angle: time along the rows."""

from __future__ import annotations

from typing import Any

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from consistency_tta.components.folded_upsampling import FoldedUpsample


def turn_pictures(unet: UNet2DConditionModel) -> None:
    """Change a U-Net in place: it computes what it did, (B, C, T, F) -> the same, with T innermost on the way.

    The lower levels of a U-Net over latents are long and narrow, 64 x 4 and 32 x 2 at full size. A convolution
    multiplies row by row, and rows of 2 do not keep it busy. Nothing but the kernels knows which side is time.
    """
    for layer in unet.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.transpose(2, 3).contiguous()
            for name in ("kernel_size", "stride", "padding", "dilation"):
                setattr(layer, name, getattr(layer, name)[::-1])
        elif isinstance(layer, FoldedUpsample):
            layer.kernel = layer.kernel.transpose(2, 3).contiguous()
    unet.register_forward_pre_hook(_turn_input, with_kwargs=True)
    unet.register_forward_hook(_turn_output)


def _turn_input(unet: nn.Module, args: tuple[Tensor, ...], kwargs: Any) -> tuple[tuple[Tensor, ...], Any]:
    return (args[0].transpose(2, 3), *args[1:]), kwargs


def _turn_output(unet: nn.Module, args: tuple[Tensor, ...], output: Any) -> Any:
    output.sample = output.sample.transpose(2, 3)
    return output
