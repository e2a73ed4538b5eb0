"""Networks that are used but not trained: teachers, codecs, and the encoders of losses and metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Frozen(nn.Module):
    """Holds modules that follow their owner to its device and do nothing else.

    They have no gradients of their own but let gradients through, and stay in evaluation mode. The owner's
    ``parameters()`` and ``state_dict()`` do not have them, so optimizers, gradient clipping, DDP, weight averages and
    checkpoints do not see them. They may be held by several owners.

    Example:
        >>> frozen = Frozen(teacher=nn.Linear(2, 2))
        >>> frozen.teacher.training, list(frozen.parameters())
        (False, [])
    """

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        # Not by attribute: that would register them.
        self.__dict__["_frozen"] = {name: module.eval().requires_grad_(False) for name, module in modules.items()}

    def __getattr__(self, name: str) -> Any:  # Any: the attributes are as varied as the modules
        frozen = self.__dict__.get("_frozen", {})
        return frozen[name] if name in frozen else super().__getattr__(name)

    @property
    def held(self) -> dict[str, nn.Module]:
        """The modules by name."""
        return self.__dict__["_frozen"]

    def __getitem__(self, name: str) -> nn.Module:
        """The module of that name, even where it is the name of a method of ``nn.Module``."""
        return self.held[name]

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Frozen:
        for module in self.held.values():
            module._apply(fn, recurse)
        return super()._apply(fn, recurse)
