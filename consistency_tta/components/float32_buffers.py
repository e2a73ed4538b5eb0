"""Networks whose buffers are tables that half precision would spoil."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class Float32Buffers(nn.Module):
    """Keeps its own buffers in float32 or better when the module is cast to bfloat16 or float16, as windows and filters.

    They move to other devices as any buffer does.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers(recurse=False):
            if torch.finfo(buffer.dtype).bits < 32:
                setattr(self, name, before[name].to(buffer.device))
        return self
