"""Exponential moving averages of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.weight_norm import WeightNorm

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.shared_copies import copy_module
from consistency_tta.training.shards import local


class ExponentialMovingAverage(nn.Module):
    """average <- decay * average + (1 - decay) * source, for all parameters in a few fused calls.

    Starts as a copy of the source. The average is saved with its owner, has no gradients and stays in evaluation mode.
    Parameters that the source does not train are shared with it instead of copied. The number of updates is kept on the
    device, so that an update never waits for it.

    Args:
        source: the module in training.
        decay: in [0, 1).
        warm_up: whether update n uses min(decay, n / (n + 9)) instead, so that an average over a thousand steps is not
            still the untrained network after five hundred. As in TensorFlow's ``ExponentialMovingAverage(num_updates)``
            and the weights of diffusers' ``EMAModel``.
    """

    updates: Tensor

    def __init__(self, source: nn.Module, decay: float, warm_up: bool = False) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ConfigurationError(f"expected a decay in [0, 1), got {decay}")
        self.decay = decay
        self.warm_up = warm_up
        self.register_buffer("updates", torch.tensor(0), persistent=False)
        shared = {id(parameter): parameter for parameter in source.parameters() if not parameter.requires_grad}
        self.module = copy_module(copyable(source), shared).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, source: nn.Module, taken: Tensor | None = None) -> None:
        """Follow the source's weights; its buffers are copied.

        Args:
            source: the module in training.
            taken: whether the optimizer step was taken, 1 or 0, a scalar on the device. After a step that was skipped
                the average stays as it is. None for a step that was taken.
        """
        self.updates += 1 if taken is None else taken.to(self.updates.dtype)
        # 1 - min(decay, n / (n + 9)), on the device.
        weight = torch.full((), 1 - self.decay, device=self.updates.device)
        if self.warm_up:
            weight = torch.maximum(weight, 9 / (self.updates + 9))
        if taken is not None:
            weight = weight * taken
        pairs = zip(self.module.parameters(), source.parameters(), strict=True)
        moving = [(average, current) for average, current in pairs if average is not current]
        if moving:
            averages, current = ([local(tensor) for tensor in tensors] for tensors in zip(*moving, strict=True))
            torch._foreach_lerp_(averages, current, [weight.to(average.dtype) for average in averages])
        for average, buffer in zip(self.module.buffers(), source.buffers(), strict=True):
            average.copy_(buffer)

    def get_extra_state(self) -> Tensor:
        """The number of updates, for checkpoints."""
        return self.updates.clone()

    def set_extra_state(self, state: Tensor) -> None:
        """Continue counting."""
        self.updates.copy_(state)

    def train(self, mode: bool = True) -> ExponentialMovingAverage:
        """Do nothing: an average is never in training mode."""
        return self


def copyable(module: nn.Module) -> nn.Module:
    """The module, made fit for ``deepcopy`` where it has torch's older weight norm, as AutoencoderOobleck has.

    That keeps each product of norm and direction as a tensor with a gradient, and computes it again in every forward
    pass; it is replaced by its value.
    """
    for part in module.modules():
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                setattr(part, hook.name, getattr(part, hook.name).detach())
    return module
