"""Attention in blocks computes what the fused kernel does."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from consistency_tta.components import blocked_attention as module
from consistency_tta.components.blocked_attention import InBlocks, attend_in_blocks, blocked_attention
from consistency_tta.components.networks import unet


def inputs(queries: int = 20, keys: int = 20, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Queries, keys and values as layers make them: heads are not the outermost dimension."""
    torch.manual_seed(0)
    return [torch.randn(2, n, 3, 8).to(dtype).transpose(1, 2) for n in (queries, keys, keys)]


@pytest.mark.parametrize(("rows", "scores"), [(256, 1 << 20), (7, 1), (8, 8 * 14 * 4)])
def test_values_are_those_of_the_fused_kernel(rows: int, scores: int) -> None:
    tensors = inputs(20, 14)
    with mock.patch.object(module, "ROWS", rows), mock.patch.object(module, "SCORES", scores):
        attended = blocked_attention(*tensors, scale=0.3)
    torch.testing.assert_close(attended, F.scaled_dot_product_attention(*tensors, scale=0.3))


def test_bfloat16_is_near_float32() -> None:
    tensors = inputs(256, 256, torch.bfloat16)
    expected = F.scaled_dot_product_attention(*(tensor.float() for tensor in tensors))
    assert (blocked_attention(*tensors) - expected).norm() < 0.01 * expected.norm()


def test_the_mode_takes_long_attention_in_bfloat16_alone() -> None:
    def taken(*tensors: torch.Tensor, **options: object) -> bool:
        with mock.patch.object(module, "blocked_attention", wraps=blocked_attention) as blocks, InBlocks():
            F.scaled_dot_product_attention(*tensors, **options)
        return blocks.called

    long = inputs(128, 128, torch.bfloat16)
    assert taken(*long, attn_mask=None, dropout_p=0.0, is_causal=False)
    assert not taken(*inputs(127, 128, torch.bfloat16))
    assert not taken(*inputs(128, 128, torch.float32))
    assert not taken(*long, attn_mask=torch.ones(128, 128, dtype=torch.bool))
    assert not taken(*long, is_causal=True)
    assert not taken(*long, dropout_p=0.1)


@torch.no_grad()
def test_all_layers_of_a_network_attend_in_blocks() -> None:
    network = unet((64, 4), 2, 8, [8, 8], [True, False], [2, 2], 1, 4).bfloat16()
    inputs = torch.randn(1, 2, 64, 4).bfloat16(), torch.tensor([5.0]), torch.randn(1, 3, 8).bfloat16()
    expected = network(*inputs).sample
    assert attend_in_blocks(network) == 8  # to themselves and to the text, in four places
    assert attend_in_blocks(network) == 0
    with mock.patch.object(module, "blocked_attention", wraps=blocked_attention) as blocks:
        torch.testing.assert_close(network(*inputs).sample, expected, atol=0.03, rtol=0.03)
    assert blocks.call_count == 3  # the middle of the network has 64 positions
