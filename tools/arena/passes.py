"""Counts the network passes of a training.

A pass is the forward pass of one network for one clip. A backward pass counts as two forward passes, or as one through
a frozen network, where only the gradient of the input is computed. A forward-mode derivative (JVP) counts as one more
forward pass. A teacher with classifier-free guidance thus takes two passes for each query. Counted are all backbones of
a training: student, target, teacher, and those of the objective. Other networks that learn, such as the heads of a
discriminator, count by their share of the student's parameters. Text encoder and codec do not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from consistency_tta.components.backbones import Backbone
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training import Distillation


class PassCounter:
    """Counts passes by hooks while ``enabled``.

    Attributes:
        counts: passes by the name of the network.
    """

    def __init__(self) -> None:
        self.enabled = True
        self.counts: dict[str, float] = defaultdict(float)
        self.hooks: list[Any] = []

    @property
    def total(self) -> float:
        """Of all networks."""
        return float(sum(self.counts.values()))

    def watch(self, name: str, network: nn.Module, weight: float = 1.0) -> None:
        """Count a network from now on.

        Args:
            name: in ``counts``.
            network: its first tensor argument and its output have a row for each clip.
            weight: of each of its passes.
        """
        once: Callable[[Tensor], None] = lambda gradient: None  # noqa: E731

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            nonlocal once
            learns = any(parameter.requires_grad for parameter in module.parameters())
            once = self.backward(name, weight * (2 if learns else 1))
            inputs = list(_tensors([*args, *kwargs.values()]))
            self.add(name, weight * len(inputs[0]) * (2 if any(map(_is_dual, inputs)) else 1))
            if self.enabled and args and args[0] is inputs[0] and args[0].requires_grad:
                # A gradient may come by a block's features alone, and so not pass the output. The view's gradient is
                # this call's alone.
                view = args[0].view_as(args[0])
                view.register_hook(once)
                return (view, *args[1:]), kwargs
            return None

        def after(module: nn.Module, args: Any, output: Any) -> None:
            result = _unwrapped(next(_tensors([output])))
            if self.enabled and result.requires_grad:
                result.register_hook(once)

        self.hooks.append(network.register_forward_pre_hook(before, with_kwargs=True))
        self.hooks.append(network.register_forward_hook(after))

    def backward(self, name: str, weight: float) -> Callable[[Tensor], None]:
        """A hook for several tensors of one call, whose first gradient (B, ...) counts B times ``weight`` passes."""
        fired = False

        def hook(gradient: Tensor) -> None:
            nonlocal fired
            self.add(name, 0 if fired else weight * len(gradient))
            fired = True

        return hook

    def add(self, name: str, passes: float) -> None:
        """Add passes to a network's, if enabled."""
        if self.enabled:
            self.counts[name] += passes

    def watch_training(self, training: Distillation) -> None:
        """Count every backbone of a distillation, and its other learners by their share of the student's parameters."""
        size = _size(training.student)
        seen: set[int] = set()
        for name, module in _modules(training):
            if isinstance(module, Backbone) and id(module.network) not in seen:
                seen.add(id(module.network))
                self.watch(_short(name), module.network)
        for name, learner in training.learners().items():
            if name != "student" and not any(isinstance(part, Backbone) for part in learner.module.modules()):
                self.watch(name, learner.module, _size(learner.module) / size)

    def remove(self) -> None:
        """Take the hooks away."""
        for hook in self.hooks:
            hook.remove()
        self.hooks.clear()


def _modules(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """A module and all below it, what is frozen included, with their names."""
    for own, found in module.named_modules(prefix=name):
        yield own, found
        if isinstance(found, Frozen):
            for key, held in found.held.items():
                yield from _modules(held, f"{own}.{key}")


def _short(name: str) -> str:
    """Such as ``teacher`` for ``frozen.teacher.denoiser``, ``target`` for ``target.module``."""
    return ".".join(part for part in name.split(".") if part not in ("frozen", "module", "denoiser", "objectives"))


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            yield from _tensors(value.values())
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def _is_dual(tensor: Tensor) -> bool:
    """Whether a forward-mode derivative is computed along."""
    return torch.is_floating_point(tensor) and forward_ad.unpack_dual(tensor).tangent is not None


def _unwrapped(tensor: Tensor) -> Tensor:
    """The tensor inside those that ``torch.func.jvp`` hands on, whose hooks do not run."""
    functorch: Any = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    return tensor


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
