"""Attention in blocks computes what the fused kernel does."""

from __future__ import annotations

from copy import deepcopy
from unittest import mock

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from consistency_tta.components import blocked_attention as module
from consistency_tta.components.blocked_attention import InBlocks, attend_in_blocks, blocked_attention
from consistency_tta.components.networks import unet
from consistency_tta.diffusion.derivative import directional_derivative


def inputs(queries: int = 20, keys: int = 20, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Queries, keys and values as layers make them: heads are not the outermost dimension."""
    torch.manual_seed(0)
    return [torch.randn(2, n, 3, 8).to(dtype).transpose(1, 2) for n in (queries, keys, keys)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("rows", "scores"), [(256, 1 << 20), (7, 1), (8, 8 * 14 * 4)])
def test_values_and_gradients_are_those_of_the_fused_kernel(rows: int, scores: int, dtype: torch.dtype) -> None:
    tensors, gradient = inputs(20, 14, dtype), torch.randn(2, 3, 20, 8, dtype=dtype)
    for tensor in tensors:
        tensor.requires_grad_()
    expected = F.scaled_dot_product_attention(*tensors, scale=0.3)
    with mock.patch.object(module, "ROWS", rows), mock.patch.object(module, "SCORES", scores):
        attended = blocked_attention(*tensors, scale=0.3)
        gradients = torch.autograd.grad(attended, tensors, gradient)
    torch.testing.assert_close(attended, expected)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, tensors, gradient))


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


def network() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """A U-Net that attends to 256, 128 and 64 positions, and what it reads."""
    torch.manual_seed(0)
    unet_ = unet((64, 4), 2, 8, [8, 8], [True, False], [2, 2], 1, 4)
    return unet_, (torch.randn(1, 2, 64, 4), torch.tensor([5.0]), torch.randn(1, 3, 8))


@torch.no_grad()
def test_all_layers_of_a_network_and_of_its_copies_attend_in_blocks() -> None:
    layers, inputs = network()
    keys, expected = list(layers.state_dict()), layers(*inputs).sample
    assert attend_in_blocks(layers) == 8  # to themselves and to the text, in four places
    assert attend_in_blocks(layers) == 0
    assert list(layers.state_dict()) == keys
    copy = deepcopy(layers)
    for parameter in layers.parameters():
        parameter.zero_()  # a copy that still called the original's layers would answer otherwise
    with mock.patch.object(module, "blocked_attention", wraps=blocked_attention) as blocks:
        torch.testing.assert_close(copy(*inputs).sample, expected)  # float32: as before
        assert not blocks.called
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(copy(*inputs).sample.float(), expected, atol=0.05, rtol=0.05)
    assert blocks.call_count == 3  # the middle of the network has 64 positions


def gradients(layers: torch.nn.Module, inputs: tuple[torch.Tensor, ...], autocast: bool) -> torch.Tensor:
    layers.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = layers(*inputs).sample.float().square().sum()
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in layers.parameters()])


def test_gradients_in_bfloat16_are_as_near_to_float32_as_the_fused_kernels() -> None:
    layers, inputs = network()
    exact, fused = (gradients(layers, inputs, autocast) for autocast in (False, True))
    attend_in_blocks(layers)
    with mock.patch.object(module, "blocked_attention", wraps=blocked_attention) as blocks:
        blocked = gradients(layers, inputs, True)
        layers.enable_gradient_checkpointing()
        layers.train()
        torch.testing.assert_close(gradients(layers, inputs, True), blocked, rtol=0, atol=0)
    assert blocks.call_count == 9  # three, and when checkpointed three twice
    assert not torch.equal(blocked, fused)
    assert (blocked - exact).norm() < 1.2 * (fused - exact).norm() < 0.05 * exact.norm()


def test_derivatives_in_forward_mode_are_the_fused_kernels() -> None:
    layers, (z, t, text) = network()
    layers.bfloat16()
    z, text = z.bfloat16(), text.bfloat16()

    def derivative() -> torch.Tensor:
        return directional_derivative(lambda z: layers(z, t, text).sample, (z,), (torch.ones_like(z),))

    expected = derivative()
    attend_in_blocks(layers)
    torch.testing.assert_close(derivative(), expected, rtol=0, atol=0)
