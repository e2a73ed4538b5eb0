"""The meta device as a stand-in for an accelerator: its tensors have no values, so nobody can wait for one.

A mode records what an accelerator would have to be waited for, and what Apple's GPUs do not have: float64.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from consistency_tta.training.step_rng import StepRNG

META = torch.device("meta")
#: Operations whose result the CPU needs: ``item``, ``tolist``, ``if tensor``, ``torch.equal``, a mask as an index.
WAITS = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2"}


class Faults(TorchDispatchMode):
    """Records waits, copies that block, and float64, each with the place in this project's code that caused it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def note(self, what: str) -> None:
        frame: Any = sys._getframe(1)
        while frame and not ("consistency_tta" in frame.f_code.co_filename or "/losses/" in frame.f_code.co_filename):
            frame = frame.f_back
        code = frame.f_code if frame else sys._getframe(2).f_code
        self.found.add(f"{what} in {Path(code.co_filename).name}: {code.co_name}")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name in WAITS and any(tensor.is_meta for tensor in tensors):
            self.note(name)
            if name == "_local_scalar_dense":
                return args[0].new_zeros((), device="cpu").item()
            return func(*(torch.zeros_like(arg, device="cpu") if isinstance(arg, Tensor) else arg for arg in args))
        if name == "_to_copy" and "device" in kwargs:
            source, target = args[0].device.type, torch.device(kwargs["device"]).type
            if (source, target) == ("meta", "cpu"):
                self.note("copy to the CPU")
                return torch.zeros_like(args[0], device="cpu", dtype=kwargs.get("dtype") or args[0].dtype)
            if (source, target) == ("cpu", "meta") and not kwargs.get("non_blocking"):
                self.note("blocking copy to the device")
        result = func(*args, **kwargs)
        # Scalars aside: Python's numbers become such in forward-mode differentiation.
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.is_meta and leaf.ndim]
        if any(tensor.dtype == torch.float64 for tensor in made):
            self.note("float64")
        return result


class _Autocast(torch.autocast):
    """Knows the meta device, for which there is nothing to cast."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "meta" else device_type, *args, **kwargs)


@contextmanager
def watched() -> Iterator[Faults]:
    """What an accelerator would have to be waited for in this block."""
    faults = Faults()
    with (
        mock.patch.object(torch, "autocast", _Autocast),
        mock.patch.object(StepRNG, "device_generator", None),  # there is none for the meta device
        mock.patch("torch.optim.optimizer._get_fused_kernels_supported_devices", return_value=["meta"]),
        faults,
    ):
        yield faults
