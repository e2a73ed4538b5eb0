"""The bytes of the tensors that are alive, and their peak."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the storages of the tensors that operations return, from their creation until they are freed.

    Storages are counted once, however many tensors are views of them. What kernels allocate for themselves, such as
    convolutions' workspaces, is not seen.

    Attributes:
        current: bytes alive now.
        peak: the most bytes that were alive at once since :meth:`reset_peak`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = self.peak = 0
        self._known: dict[int, weakref.ref] = {}

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that are there already, such as parameters."""
        for tensor in tensors:
            self._count(tensor)

    def reset_peak(self) -> None:
        """Let the peak begin again."""
        self.peak = self.current

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Count what the operation returns."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def freed(_: Any) -> None:
            self.current -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, freed)
        self.current += size
        self.peak = max(self.peak, self.current)
