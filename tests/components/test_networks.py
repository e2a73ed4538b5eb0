"""Network factories: what they build fits together, and the defaults are the full-size models'."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.components.networks import autoencoder, clap, hifigan, unet
from consistency_tta.runtime.errors import ConfigurationError


def test_an_autoencoder_halves_after_each_level_but_the_last() -> None:
    vae = autoencoder([4, 8, 8], latent_channels=3, layers_per_block=1, norm_num_groups=4, attention=False)
    picture = torch.randn(2, 1, 16, 8)
    moments = vae.encode(picture).latent_dist.parameters
    assert moments.shape == (2, 6, 4, 2)
    assert vae.decode(moments[:, :3]).sample.shape == picture.shape
    assert not any("attentions" in name for name, _ in vae.named_parameters())
    assert any("attentions" in name for name, _ in autoencoder([4, 8], norm_num_groups=4).named_parameters())


def test_a_unet_attends_where_it_is_told_to() -> None:
    network = unet((8, 4), 4, text_width=16, channels=[8, 16], attention=[False, True], heads=[1, 2], norm_num_groups=4)
    latent, text = torch.randn(1, 4, 8, 4), torch.randn(1, 3, 16)
    assert network(latent, 5, text).sample.shape == latent.shape
    assert not hasattr(network.down_blocks[0], "attentions")
    attention = network.down_blocks[1].attentions[0].transformer_blocks[0].attn2
    assert attention.heads == 2
    assert attention.to_k.in_features == 16
    assert tuple(network.config.sample_size) == (8, 4)
    assert not torch.allclose(network(latent, 5, text).sample, network(latent, 5, 2 * text).sample)


def test_a_hifigans_hop_is_the_product_of_its_rates() -> None:
    vocoder = hifigan(n_mels=16, channels=8, upsample_rates=[4, 2], upsample_kernel_sizes=[8, 4])
    assert vocoder(torch.randn(2, 10, 16)).shape == (2, 80)


def test_the_defaults_are_the_full_size_models() -> None:
    with torch.device("meta"):
        networks = {"autoencoder": autoencoder(), "unet": unet(), "hifigan": hifigan()}
    sizes = {name: round(sum(p.numel() for p in n.parameters()) / 1e6) for name, n in networks.items()}
    # AudioLDM's autoencoder and vocoder, and TANGO's U-Net of 866 million parameters.
    assert sizes == {"autoencoder": 55, "unet": 866, "hifigan": 55}


def test_a_unet_needs_one_entry_per_level() -> None:
    with pytest.raises(ConfigurationError):
        unet(channels=[8, 16], attention=[True], heads=[1, 2])


def test_the_small_clap_has_a_million_parameters_and_hears_five_seconds() -> None:
    made = clap()
    assert round(sum(parameter.numel() for parameter in made.parameters()) / 1e6, 1) == 1.1
    assert made.front_end(torch.zeros(1, 81920)).shape == (1, 1, 251, 64)
    with pytest.raises(ConfigurationError, match="501"):
        clap(hop_length=160)
    with pytest.raises(ConfigurationError):
        clap(heads=[1])
