"""Packed layers compute what the layers do whose weights they keep."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from consistency_tta.components.packed_layers import PackedConv2d, PackedLinear, can_pack, pack_layers

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not can_pack(torch.float32, CPU), reason="oneDNN on x86 alone packs weights")


@torch.inference_mode()
@pytest.mark.parametrize(
    "options", [{"padding": 1}, {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}, {"groups": 2, "bias": False}]
)
def test_a_convolution_with_what_follows_it(options: dict[str, int]) -> None:
    conv = nn.Conv2d(6, 8, 3, **options)
    packed = PackedConv2d(conv)
    for batch in (1, 3):  # the weights' order was chosen for the first
        pictures = torch.randn(batch, 6, 9, 7)
        expected = conv(pictures)
        torch.testing.assert_close(packed(pictures), expected)
        torch.testing.assert_close(packed(pictures, leaky_slope=0.1), F.leaky_relu(expected, 0.1))
        torch.testing.assert_close(packed(pictures, added=2 * expected), 3 * expected)


@torch.inference_mode()
def test_results_do_not_depend_on_the_first_batch() -> None:
    conv, linear, pictures = nn.Conv2d(32, 32, 3, padding=1), nn.Linear(32, 48), torch.randn(1, 32, 8, 8)
    first, second = PackedConv2d(conv), PackedConv2d(conv)
    second(torch.randn(5, 32, 16, 2))
    assert torch.equal(first(pictures), second(pictures))
    ours, other = PackedLinear(linear), PackedLinear(linear)
    other(torch.randn(7, 3, 32))
    assert torch.equal(ours(pictures.flatten(2).mT), other(pictures.flatten(2).mT))


@torch.inference_mode()
def test_a_networks_layers_are_replaced_where_that_computes_the_same() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 5)
    )
    pictures = torch.randn(2, 2, 4, 4)
    expected = network(pictures)
    assert pack_layers(network) == 2
    torch.testing.assert_close(network(pictures), expected)
    assert pack_layers(nn.Linear(2, 2).double()) == 0
    assert not can_pack(torch.float16, CPU)
    assert not can_pack(torch.float32, torch.device("meta"))
