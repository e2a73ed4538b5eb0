"""Directional derivatives of networks, for objectives in continuous time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from consistency_tta.diffusion.noise import expand


def directional_derivative(
    function: Callable[..., Tensor], inputs: tuple[Tensor, ...], tangents: tuple[Tensor, ...]
) -> Tensor:
    """The derivative of a function along a direction of its inputs, in one forward pass of about twice the usual cost.

    Computed in the weights' own precision, without autocast, since half precision makes it noise. Attention takes the
    implementation of matrix products, because the fused ones have no forward-mode derivative. There are no gradients.

    Args:
        function: such as a query of a network; called once.
        inputs: what it is called with.
        tangents: the direction, one tensor of the same shape for each input; cast to its dtype.

    Returns:
        sum over inputs of (d function / d input) * tangent, of the function's shape.
    """
    device = inputs[0].device.type
    # Validation runs in inference mode, which has no forward-mode derivatives.
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        torch.autocast(device, enabled=False),
        torch.compiler.set_stance("force_eager"),  # compiled blocks have no forward-mode derivative
    ):
        primal = tuple(value.detach().clone() for value in inputs)
        direction = tuple(value.detach().clone().to(like.dtype) for value, like in zip(tangents, inputs, strict=True))
        return torch.func.jvp(function, primal, direction)[1]


def value_and_derivative(
    function: Callable[[Tensor, Tensor], Tensor], z: Tensor, t: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor]:
    """A function's value, with gradients, and in the same pass its derivative along a direction, without gradients.

    Unlike :func:`directional_derivative` it saves the query for the value, and computes both in the precision of
    autocast. Normalisations are then computed in float32, as on CUDA: their derivative would have another type.

    Args:
        function: (z (B, C, *), t (B,)) -> (B, C, *), such as a denoiser with its conditioning.
        z: (B, C, *).
        t: (B,).
        direction: dz/dt (B, C, *).

    Returns:
        The value (B, C, *), and the derivative per unit of t (B, C, *).
    """
    with sdpa_kernel(SDPBackend.MATH), _NormalisationsInFloat32(), torch.compiler.set_stance("force_eager"):
        value, derivative, *_ = torch.func.jvp(function, (z, t), (direction, torch.ones_like(t)))
    return value, derivative.detach()


def central_difference(
    function: Callable[[Tensor, Tensor], Tensor],
    path: Callable[[Tensor], Tensor],
    t: Tensor,
    step: float,
    lowest: float = float("-inf"),
    highest: float = float("inf"),
) -> tuple[Tensor, Tensor]:
    """As :func:`value_and_derivative`, by two more queries, at t - step and t + step on a path, without autocast.

    For networks with layers that have no forward-mode derivative, and for those whose time embedding turns fast: the
    mean of the derivative over 2 step leaves out what changes within it.

    Args:
        function: as in :func:`value_and_derivative`.
        path: t (B,) -> z (B, C, *), along which the derivative is taken.
        t: (B,).
        step: in t.
        lowest, highest: t of the queries stays between them; the difference is narrower, or one-sided, there.
    """
    value = function(path(t), t)
    with torch.no_grad(), torch.autocast(t.device.type, enabled=False):
        later, earlier = (t + step).clamp(max=highest), (t - step).clamp(min=lowest)
        values = [function(path(time), time) for time in (later, earlier)]
        return value, (values[0] - values[1]) / expand(later - earlier, value)


class _NormalisationsInFloat32(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (functional.group_norm, functional.layer_norm) and args[0].dtype in (torch.bfloat16, torch.float16):
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))
