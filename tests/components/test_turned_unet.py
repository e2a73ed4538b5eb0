"""A U-Net that works on turned pictures computes the same."""

from __future__ import annotations

import torch

from consistency_tta.components.folded_upsampling import fold_upsampling
from consistency_tta.components.networks import unet
from consistency_tta.components.turned_unet import turn_pictures


@torch.no_grad()
def test_outputs_are_the_same() -> None:
    network = unet((8, 4), 2, 8, [8, 8, 8], [True, False, False], [2, 2, 2], 1, 4)
    inputs = torch.randn(2, 2, 8, 4), torch.tensor([5.0]), torch.randn(2, 3, 8)
    expected = network(*inputs).sample
    fold_upsampling(network)
    rows = []
    network.conv_in.register_forward_hook(lambda layer, args, output: rows.append(output.shape[2:]))
    turn_pictures(network)
    torch.testing.assert_close(network(*inputs).sample, expected, atol=1e-5, rtol=1e-4)
    assert rows == [(4, 8)]
