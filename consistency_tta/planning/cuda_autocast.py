"""Number formats of mixed precision as on CUDA, for tensors that are on the CPU or nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import checkpoint

from consistency_tta.components import codec, waveform_codec
from consistency_tta.training import placed_networks

#: What CUDA's autocast computes in float32 and the CPU's in bfloat16, as far as networks of sound use it.
#: Source: "CUDA Ops that can autocast to float32", https://docs.pytorch.org/docs/stable/amp.html.
FLOAT32 = {
    *(F.group_norm, torch.group_norm, F.layer_norm, torch.layer_norm, F.normalize),
    *(F.softmax, torch.softmax, Tensor.softmax, F.log_softmax, torch.log_softmax, Tensor.log_softmax, F.softplus),
    *(torch.exp, Tensor.exp, torch.log, Tensor.log, torch.pow, Tensor.pow, Tensor.__pow__, torch.rsqrt, Tensor.rsqrt),
    *(torch.sum, Tensor.sum, torch.prod, Tensor.prod, torch.cumsum, Tensor.cumsum, torch.norm, Tensor.norm),
    *(torch.reciprocal, Tensor.reciprocal, F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.cross_entropy),
}


class CudaAutocast(TorchFunctionMode):
    """Within CPU autocast, computes in float32 what CUDA's autocast would; norms' results are then twice as large."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Cast the inputs of the functions listed, and let them compute so."""
        kwargs = kwargs or {}
        if func not in FLOAT32 or not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        args, kwargs = tree_map(_float32, (args, kwargs))
        with torch.autocast("cpu", enabled=False):
            return func(*args, **kwargs)


@contextmanager
def cuda_formats() -> Iterator[None]:
    """:class:`CudaAutocast`, also where checkpointing computes again on the way back, where modes are not in force.

    Attention is torch's own, which is not computed in blocks there.
    """

    def again(function: Any, *args: Any, **kwargs: Any) -> Any:
        return checkpoint(function, *args, **(kwargs | {"context_fn": lambda: (nullcontext(), CudaAutocast())}))

    with ExitStack() as stack:
        for module in (torch.utils.checkpoint, codec, waveform_codec):
            stack.enter_context(mock.patch.object(module, "checkpoint", again))
        stack.enter_context(mock.patch.object(placed_networks, "faster_in_blocks", return_value=False))
        stack.enter_context(CudaAutocast())
        yield


def _float32(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value
