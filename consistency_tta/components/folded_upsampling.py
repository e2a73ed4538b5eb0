"""Upsampling and the convolution after it as one transposed convolution, for generation."""

from __future__ import annotations

from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class FoldedUpsample(nn.Module):
    """What diffusers' ``Upsample2D`` computes, with 4/9 of the multiplications.

    Doubling by repetition and a 3x3 convolution are both linear. Together they are one transposed convolution of stride
    2, whose 4x4 kernel is the convolution of the 3x3 one with a 2x2 square of ones.

    Args:
        upsample: what is replaced; see :func:`can_be_folded`.
    """

    kernel: Tensor

    def __init__(self, upsample: Upsample2D) -> None:
        super().__init__()
        self.upsample = upsample
        weight = upsample.conv.weight.detach()  # (outputs, inputs, 3, 3)
        outputs, inputs = weight.shape[:2]
        flipped = weight.float().flip(2, 3).transpose(0, 1).reshape(-1, 1, 3, 3)
        kernel = F.conv_transpose2d(flipped, flipped.new_ones(1, 1, 2, 2)).view(inputs, outputs, 4, 4)
        self.register_buffer("kernel", kernel.to(weight.dtype), persistent=False)

    def forward(self, hidden_states: Tensor, output_size: int | None = None) -> Tensor:
        """Pictures (B, C, H, W) -> (B, C, 2 H, 2 W), or of ``output_size`` by the original."""
        if output_size is not None:
            return self.upsample(hidden_states, output_size)
        return F.conv_transpose2d(hidden_states, self.kernel, self.upsample.conv.bias, stride=2, padding=1)


def fold_upsampling(network: nn.Module) -> int:
    """Replace all upsampling layers of a network that can be; returns how many were.

    The replacement keeps the weights as they are now: fold where they do not change any more.
    """
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if can_be_folded(child) and not isinstance(parent, FoldedUpsample)
    ]
    for parent, name, child in found:
        setattr(parent, name, FoldedUpsample(child))
    return len(found)


def can_be_folded(layer: nn.Module) -> bool:
    """Whether a layer doubles pictures by repetition and convolves them with 3x3 kernels, and does nothing else."""
    if not isinstance(layer, Upsample2D) or layer.use_conv_transpose or layer.norm is not None:
        return False
    conv = getattr(layer, "conv", None)
    return (
        layer.interpolate
        and isinstance(conv, nn.Conv2d)
        and (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
        == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
    )
