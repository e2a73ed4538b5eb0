"""AudioLDM's autoencoder and vocoder against modules written down from the original definitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from consistency_tta.convert.codec import autoencoder, vocoder
from consistency_tta.runtime.errors import CheckpointError
from tests.convert.published import Autoencoder, HifiGan, count, digest, filled, shapes_of


def legacy_weight_norm(layer: nn.Module) -> nn.Module:
    return nn.utils.weight_norm(layer)


def test_at_full_size_names_shapes_and_counts_are_the_published_ones() -> None:
    """Digests and counts: of the official modules in the official configuration (audioldm-s-full)."""
    with torch.device("meta"):
        whole, voice = Autoencoder(), HifiGan()
    assert digest(shapes_of(whole)) == "cfa09cf4e4ec9dc1cc27cac106edf1184573392b6a65c669f90ddfbf1e102845"
    assert digest(shapes_of(voice)) == "d5d1ca0a91fab08e6c8ffdddfbae626622508d64248daea592c881e93b393173"
    assert (count(shapes_of(whole)), count(shapes_of(voice))) == (55_376_873, 55_264_897)
    vae = autoencoder(whole.state_dict(), 0.9, "x")
    assert vae.config.block_out_channels == (128, 256, 512)
    assert (vae.config.latent_channels, vae.config.layers_per_block, vae.config.scaling_factor) == (8, 2, 0.9)
    assert sum(parameter.numel() for parameter in vae.parameters()) == 55_376_873
    with torch.device("cpu"):
        hifigan = vocoder(filled(shapes_of(HifiGan(64, 32))), 16000, "x")
    assert hifigan.config.upsample_rates == [5, 4, 2, 2, 2]


@torch.no_grad()
@pytest.mark.parametrize(("channels", "blocks"), [((32, 64, 64), 1), ((32, 32), 2)])
def test_the_autoencoder_computes_the_same(channels: tuple[int, ...], blocks: int) -> None:
    reference = Autoencoder(channels, latent=4, blocks=blocks).eval()
    reference.load_state_dict(filled(shapes_of(reference)))
    vae = autoencoder(reference.state_dict(), 1.0, "x").double()
    reference.double()
    mel, latent = torch.randn(2, 1, 16, 8).double(), torch.randn(2, 4, 4, 2).double()
    torch.testing.assert_close(vae.encode(mel).latent_dist.parameters, reference.encode(mel), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(vae.decode(latent).sample, reference.decode(latent), atol=1e-9, rtol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("norm", [lambda layer: layer, legacy_weight_norm, parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_the_vocoder_computes_the_same_with_weight_norm_folded(norm: Callable[[nn.Module], nn.Module]) -> None:
    reference = HifiGan(16, 64, norm)
    weights = filled(shapes_of(reference))
    for name in weights:
        if name.endswith(("weight_g", "original0")):
            weights[name] = 0.2 * weights[name].abs() + 0.55  # lengths, for which tanh does not saturate
    reference.load_state_dict(weights)
    hifigan = vocoder(weights, 16000, "x")
    mel = torch.randn(2, 12, 16)
    expected = reference(mel.transpose(1, 2))[:, 0]
    assert expected.shape[1] >= 12 * 160
    assert 0.01 < float(expected.std()) < 0.5
    torch.testing.assert_close(hifigan(mel), expected, atol=1e-5, rtol=0)
    assert hifigan.config.sampling_rate == 16000
    assert not any("weight_g" in name or "original" in name for name in hifigan.state_dict())


def test_another_autoencoder_is_refused_with_names() -> None:
    weights = filled(shapes_of(Autoencoder((32, 64), latent=4, blocks=1)))
    truncated = {name: tensor for name, tensor in weights.items() if not name.startswith("decoder.up.1")}
    with pytest.raises(CheckpointError, match=r"decoder\.up\.1"):
        autoencoder(truncated, 1.0, "x.bin")
    with pytest.raises(CheckpointError, match=r"encoder\.down\.0\.attn\.0\.norm\.bias"):
        autoencoder(weights | {"encoder.down.0.attn.0.norm.bias": torch.ones(1)}, 1.0, "x.bin")
    with pytest.raises(CheckpointError, match=r"encoder\.down\.0\.block\.0\.conv1\.weight"):
        autoencoder({}, 1.0, "x.bin")
    with pytest.raises(CheckpointError, match=r"conv_pre\.weight"):
        vocoder({}, 16000, "x.bin")
    voice = filled(shapes_of(HifiGan(16, 32)))
    voice["ups.0.weight"] = torch.zeros(32, 16, 12)
    with pytest.raises(CheckpointError, match=r"ups\.0\.weight"):
        vocoder(voice, 16000, "x.bin")
