"""Attention in blocks of matrix products, for processors on which the fused kernel is slow."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

#: Queries of a block, and the most scores of a block: 2 MB in bfloat16, of the size of a core's cache.
ROWS, SCORES = 256, 1 << 20
#: Queries and keys from which on blocks are faster.
SHORTEST = 128


def blocked_attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """``scaled_dot_product_attention`` without a mask, some queries of some heads at a time.

    Args:
        query: (B, heads, queries, width).
        key: (B, heads, keys, width).
        value: (B, heads, keys, width).
        scale: of the scores; by default width^-1/2.

    Returns:
        (B, heads, queries, width).
    """
    width = query.shape[-1]
    # Products of odd widths, such as the 51 of ConsistencyTTA's U-Net, are slower than those of the next multiple.
    padded = (F.pad(tensor, (0, -width % 16)).flatten(0, 1) for tensor in (query, key, value))
    attended = _BlockedAttention.apply(*padded, width**-0.5 if scale is None else scale)
    return attended.unflatten(0, query.shape[:2])[..., :width]


class _BlockedAttention(torch.autograd.Function):
    """Keeps queries, keys and values, and computes the weights again in the backward pass.

    Source of the backward pass: Dao et al., "FlashAttention", 2022, https://arxiv.org/abs/2205.14135, appendix B.2.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        q = query * scale
        attended, memory = torch.empty_like(q), q.new_empty(0)  # each block's weights, so that they stay in the cache
        for heads, rows in _blocks(q, key):
            weights = _weights(q[heads, rows], key[heads], memory)
            torch.bmm(weights, value[heads], out=attended[heads, rows])
        return attended

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        q, d_q = query * ctx.scale, torch.empty_like(query)
        # Sums over blocks, which bfloat16 would round one by one.
        d_k, d_v = (torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32)) for x in (key, value))
        memory = q.new_empty(0), q.new_empty(0)
        for heads, rows in _blocks(q, key):
            weights = _weights(q[heads, rows], key[heads], memory[0])
            d_v[heads] += torch.bmm(weights.mT, gradient[heads, rows])
            d_scores = torch.bmm(gradient[heads, rows], value[heads].mT, out=memory[1].resize_(weights.shape))
            torch._softmax_backward_data(d_scores, weights, -1, weights.dtype, grad_input=d_scores)
            d_k[heads] += torch.bmm(d_scores.mT, q[heads, rows])
            torch.bmm(d_scores, key[heads], out=d_q[heads, rows])
        return d_q * ctx.scale, d_k.to(key.dtype), d_v.to(value.dtype), None


def _weights(q: Tensor, k: Tensor, memory: Tensor) -> Tensor:
    """The weights (heads, queries, keys) of a block, in memory that is given."""
    weights = torch.bmm(q, k.mT, out=memory.resize_(*q.shape[:2], k.shape[1]))
    return torch.softmax(weights, -1, out=weights)


def _blocks(q: Tensor, k: Tensor) -> list[tuple[slice, slice]]:
    """Heads and queries of each block, for queries (heads, queries, width) and keys (heads, keys, width)."""
    heads = max(1, SCORES // (min(ROWS, q.shape[1]) * k.shape[1]))
    return [
        (slice(head, head + heads), slice(row, row + ROWS))
        for head in range(0, q.shape[0], heads)
        for row in range(0, q.shape[1], ROWS)
    ]


class InBlocks(TorchFunctionMode):
    """Within this mode, attention on a CPU is computed in blocks where that is faster."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take the place of ``scaled_dot_product_attention`` where sequences are long; pass on everything else."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and _fits(*args, **kwargs):
            return blocked_attention(args[0], args[1], args[2], kwargs.get("scale"))
        return func(*args, **kwargs)


def _fits(*inputs: Any, **options: Any) -> bool:
    """Whether a call of ``scaled_dot_product_attention`` has neither mask nor dropout, and is long and in bfloat16."""
    if len(inputs) != 3:
        return False
    query, key, value = inputs
    return (
        options.get("attn_mask") is None
        and not any(options.get(name) for name in ("dropout_p", "is_causal", "enable_gqa"))
        and query.device.type == "cpu"
        and query.dtype == key.dtype == value.dtype == torch.bfloat16
        and query.ndim == 4
        and query.shape[:2] == key.shape[:2]
        and min(query.shape[2], key.shape[2]) >= SHORTEST
    )


def faster_in_blocks() -> bool:
    """Whether the processor multiplies in bfloat16, and torch's fused attention does not do so fast.

    That kernel takes Intel's MKL, which reaches a fifth of the peak on AMD's processors (docs/performance.md), except
    where there are AMX instructions, which AMD's have not.
    """
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16")) and not capabilities.get("amx_bf16")


class BlockedAttention(Attention):
    """An attention layer of diffusers that computes in blocks: the same weights, and copies of it do so, too."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As the layer it was. Short sequences, compilers and derivatives in forward mode get what they got before."""
        length = hidden_states.shape[1] if hidden_states.ndim == 3 else hidden_states.shape[2:].numel()
        derived = torch._C._functorch.maybe_current_level()
        if length >= SHORTEST and not torch.compiler.is_compiling() and not derived:
            with InBlocks():
                return super().forward(hidden_states, *args, **kwargs)
        return super().forward(hidden_states, *args, **kwargs)


def attend_in_blocks(network: nn.Module) -> int:
    """Have all attention layers of diffusers in a network compute in blocks; returns how many there are."""
    layers = [layer for layer in network.modules() if type(layer) is Attention]
    for layer in layers:
        layer.__class__ = BlockedAttention
    return len(layers)
