"""Tangents: how a network's output changes along a direction of its inputs.

Forward-mode differentiation has the output and its derivative in one pass, exactly. Central differences need two more
passes and are right to the square of their step, for networks with layers that cannot be differentiated forward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from consistency_tta.diffusion.noise import expand


def forward_mode(
    function: Callable[[Tensor, Tensor], Tensor], z: Tensor, t: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor]:
    """The value of a function of (z, t), and its derivative along (direction, 1), by ``torch.func.jvp``.

    Attention is computed by its mathematical definition: the fused kernels have no forward derivative. Under autocast,
    normalisations are computed in float32, as on CUDA: the forward derivative of a normalisation with mixed types does
    not have its type.

    Args:
        function: (z (B, C, *), t (B,)) -> (B, C, *), such as a denoiser with its conditioning.
        z: (B, C, *).
        t: (B,).
        direction: dz/dt (B, C, *).

    Returns:
        The value (B, C, *), with gradients to the function's parameters, and the derivative (B, C, *), without.
    """
    with sdpa_kernel(SDPBackend.MATH), _NormalisationsInFloat32():
        value, derivative, *_ = torch.func.jvp(function, (z, t), (direction, torch.ones_like(t)))
    return value, derivative.detach()


def central_difference(
    function: Callable[[Tensor, Tensor], Tensor],
    z: Tensor,
    t: Tensor,
    direction: Tensor,
    step: float,
    highest: float = float("inf"),
) -> tuple[Tensor, Tensor]:
    """As :func:`forward_mode`, by two more queries at t - step and t + step, without autocast.

    Args:
        function, z, t, direction: as in :func:`forward_mode`.
        step: in t; below the smallest t.
        highest: largest t of the queries; the difference is one-sided there.
    """
    value = function(z, t)
    with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
        later, earlier = (t + step).clamp(max=highest), t - step
        values = [function(z + expand(time - t, z) * direction, time) for time in (later, earlier)]
        return value, (values[0] - values[1]) / expand(later - earlier, z)


class _NormalisationsInFloat32(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (functional.group_norm, functional.layer_norm) and args[0].dtype in (torch.bfloat16, torch.float16):
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))
