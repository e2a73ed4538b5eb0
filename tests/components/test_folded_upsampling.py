"""Upsampling folded into the convolution after it computes what diffusers' layers compute."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.upsampling import Upsample2D

from consistency_tta.components.folded_upsampling import FoldedUpsample, can_be_folded, fold_upsampling
from consistency_tta.components.networks import autoencoder, unet


@pytest.mark.parametrize("outputs", [4, 7])
def test_one_transposed_convolution_is_doubling_and_convolving(outputs: int) -> None:
    layer = Upsample2D(4, use_conv=True, out_channels=outputs).double()
    pictures = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    folded = FoldedUpsample(layer)
    # The kernel is summed in float32.
    torch.testing.assert_close(folded(pictures), layer(pictures), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(folded(pictures, (9, 6)), layer(pictures, (9, 6)))


@pytest.mark.parametrize(
    "options", [{"use_conv": False}, {"use_conv_transpose": True}, {"use_conv": True, "kernel_size": 5}]
)
def test_other_layers_are_left_alone(options: dict[str, int]) -> None:
    assert not can_be_folded(Upsample2D(4, **options))


@torch.no_grad()
def test_networks_compute_the_same() -> None:
    vae = autoencoder([8, 8, 8], norm_num_groups=4)
    latent = torch.randn(1, 8, 4, 2)
    expected = vae.decode(latent).sample
    assert fold_upsampling(vae) == 2
    torch.testing.assert_close(vae.decode(latent).sample, expected, atol=1e-4, rtol=1e-4)
    assert fold_upsampling(vae) == 0

    network = unet((8, 4), 2, 8, [8, 8], [True, False], [2, 2], 1, 4)
    inputs = torch.randn(1, 2, 8, 4), torch.tensor([5.0]), torch.randn(1, 3, 8)
    expected = network(*inputs).sample
    assert fold_upsampling(network) == 1
    torch.testing.assert_close(network(*inputs).sample, expected, atol=1e-5, rtol=1e-4)
