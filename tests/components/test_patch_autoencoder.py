"""The autoencoder of folded mels: it begins as a cosine transform."""

from __future__ import annotations

import math

import pytest
import torch

from consistency_tta.components.codec import MelCodec
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.patch_autoencoder import cosine_basis, patch_autoencoder
from consistency_tta.runtime.errors import ConfigurationError


def test_the_basis_is_that_of_scipy() -> None:
    fft = pytest.importorskip("scipy.fft", reason="scipy is the reference")
    basis, factors = cosine_basis(4, 16)
    patch = torch.randn(4, 4, dtype=torch.float64)
    numbers = torch.as_tensor(fft.dctn(patch.numpy(), norm="ortho"))
    # By the product of the orders, counted from 1: 1; 2, 2; 3, 3; 2 x 2, 4, 4; ...
    lowest = [(0, 0), (0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (1, 1), (3, 0)]
    expected = torch.stack([numbers[order] for order in lowest])
    assert torch.allclose(basis[:8].double() @ patch.flatten(), expected, atol=1e-6)
    assert torch.allclose(basis @ basis.T, torch.eye(16), atol=1e-6)
    assert torch.allclose(factors[1:5], 0.75 * torch.tensor([2, 2, 3, 3.0]).sqrt())


def test_it_begins_with_the_lowest_numbers_of_each_patch() -> None:
    torch.manual_seed(0)
    vae = patch_autoencoder(patch=4, width=48, latent_channels=8, layers_per_block=1, norm_num_groups=4).eval()
    basis, factors = cosine_basis(4, 8)
    numbers = torch.randn(2, 8, 16, 4) / factors[:, None, None]
    pictures = torch.einsum("bkts,kp->bpts", numbers, basis)
    with torch.no_grad():
        moments = vae.encode(pictures).latent_dist.parameters
        made = vae.decode(moments[:, :8]).sample
    expected = numbers * factors[:, None, None]
    # A normalisation divides by more than its constants, and the channels beside the linear map begin as noise.
    assert (moments[:, :8] - expected).square().mean() < 0.02 * expected.square().mean()
    assert (made - pictures).square().mean() < 0.02 * pictures.square().mean()
    assert torch.allclose(moments[:, 8:], torch.tensor(-4.0), atol=0.5)


def test_a_codec_folds_its_mels() -> None:
    mel = MelSpectrogram(sample_rate=8000, n_fft=64, hop_length=32, n_mels=16, f_max=4000)
    codec = MelCodec(mel, patch_autoencoder(4, 24, latent_channels=3, layers_per_block=1, norm_num_groups=4).eval())
    waveform = 0.1 * torch.randn(2, 1, 32 * 8)
    moments = codec.encode(waveform)
    assert moments.shape == (2, 6, 2, 4)
    assert codec.latent_shape(32 * 8) == (3, 2, 4)
    assert codec.samples_per_frame == 32 * 4
    assert codec.latent_to_mel(codec.moments_to_latent(moments)).shape == (2, 8, 16)


def test_the_constants_hold_the_scale_for_loud_and_soft_mels_alike() -> None:
    torch.manual_seed(0)
    vae = patch_autoencoder(patch=2, width=32, latent_channels=4, layers_per_block=1, norm_num_groups=4).eval()
    pictures = torch.randn(1, 4, 8, 4)
    with torch.no_grad():
        soft, loud = (vae.encode(scale * pictures).latent_dist.mean for scale in (0.5, 1.0))
    ratio = float(loud.norm() / soft.norm())
    assert math.isclose(ratio, 2, rel_tol=0.05)  # a plain normalisation makes it 1


@pytest.mark.parametrize(("width", "latent_channels"), [(32, 13), (128, 65)])
def test_a_linear_map_that_does_not_fit_is_refused(width: int, latent_channels: int) -> None:
    with pytest.raises(ConfigurationError, match=str(latent_channels)):
        patch_autoencoder(8, width, latent_channels, norm_num_groups=4)
