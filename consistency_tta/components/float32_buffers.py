"""Buffers, such as windows and filters, that stay in float32 when a network is cast to half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Float32Buffers:
    """Keeps its own buffers, such as windows and filters, in float32 or better when it is cast to bfloat16 or float16.

    They move to other devices as any buffer does. A mixin: name it before the class that is a ``torch.nn.Module``.
    """

    def _apply(self: Any, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        before = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)  # type: ignore[misc]  # nn.Module's
        for name, buffer in self.named_buffers(recurse=False):
            if torch.finfo(buffer.dtype).bits < 32:
                setattr(self, name, before[name].to(buffer.device))
        return self
