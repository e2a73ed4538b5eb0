"""Text encoders and codecs that are frozen; their weights in bfloat16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderOobleck
from torch import nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from consistency_tta.components.build_codec import build_codec
from consistency_tta.components.codec import MelCodec
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.text import ByteTextEncoder
from consistency_tta.losses import MelL2Loss
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training.frozen_networks import (
    KINDS,
    RoundedNetworks,
    frozen_networks,
    rounded_layers,
    to_round,
    to_shard,
)
from tests.toys import MEL, NUM_SAMPLES, OOBLECK, TEXT, VAE
from tests.training.runs import diffusion, distillation


def owner(**frozen: nn.Module) -> nn.Module:
    """A training of some frozen networks."""
    module = nn.Module()
    module.frozen = Frozen(**frozen)
    return module


def mel_codec() -> MelCodec:
    """With a HiFi-GAN."""
    config = {"model_in_dim": 16, "upsample_initial_channel": 32, "normalize_before": False}
    rates = {"upsample_rates": [5, 4, 4, 2], "upsample_kernel_sizes": [10, 8, 8, 4]}
    vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(**config, **rates))
    return MelCodec(MelSpectrogram(**MEL), AutoencoderKL(**VAE), vocoder)


def size(module: nn.Module) -> int:
    """Bytes of text encoder and codec."""
    networks = [network for kind in KINDS for network in frozen_networks(module, kind)]
    return sum(parameter.nbytes for network in networks for parameter in network.parameters())


def addresses(networks: list[nn.Module]) -> set[int]:
    return {parameter.data_ptr() for network in networks for parameter in network.parameters()}


def test_all_weights_of_text_encoder_and_codec_are_found_once(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    for kind, held in zip(KINDS, (module.frozen.text, module.frozen.codec), strict=True):
        found = frozen_networks(module, kind)
        assert len(found) == len(set(found))
        assert addresses(found) == addresses([held])


def test_networks_that_are_trained_are_none_of_them(teacher_folder: Path) -> None:
    trained = distillation(teacher_folder, train_decoder=True, losses={"mel": MelL2Loss()})
    assert not addresses(frozen_networks(trained, "codec")) & addresses([trained.decoders.decoder.parts])
    module = diffusion(teacher_folder, train_text_encoder=True)
    assert not frozen_networks(module, "text_encoder")
    for refused, option in ((to_round, "text_encoder"), (to_shard, "shard_text_encoder")):
        with pytest.raises(ConfigurationError, match=option):
            refused(module, "text_encoder")


def test_weights_of_weight_norm_are_neither_rounded_nor_sharded() -> None:
    text = ByteTextEncoder(**TEXT)
    module = owner(text=text, codec=build_codec(AutoencoderOobleck(**OOBLECK)))
    for refused, option in ((to_round, "codec"), (to_shard, "shard_codec")):
        with pytest.raises(ConfigurationError, match=option):
            refused(module, "codec")
    assert to_round(module, "text_encoder") == to_shard(module, "text_encoder") == [text.encoder]


@torch.no_grad()
def test_rounded_networks_compute_in_bf16_mixed_what_they_did() -> None:
    torch.manual_seed(0)
    text, codec = ByteTextEncoder(**TEXT), mel_codec()
    waveform, latent = torch.randn(2, NUM_SAMPLES), torch.randn(2, 4, 8, 4)

    def computed() -> list[torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return [text(["a dog", "rain falls"]).embedding, codec.encode(waveform), codec.decode(latent)]

    module = owner(text=text, codec=codec)
    before, whole = computed(), size(module)
    RoundedNetworks(network for kind in KINDS for network in to_round(module, kind))
    assert all(map(torch.equal, before, computed()))
    assert size(module) < 0.75 * whole  # toys have large embeddings


@torch.no_grad()
def test_copies_of_rounded_networks_have_the_original_weights() -> None:
    encoder = ByteTextEncoder(**TEXT).encoder
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    rounded = RoundedNetworks([encoder])
    copy = rounded.whole(encoder)
    assert all(torch.equal(value, before[name]) for name, value in copy.state_dict().items())
    assert copy.shared.weight is copy.encoder.embed_tokens.weight
    # What a user does to a copy changes no other.
    copy.to(torch.float16)
    assert all(torch.equal(value, before[name]) for name, value in rounded.whole(encoder).state_dict().items())
    assert {layer.weight.dtype for layer in rounded_layers(encoder)} == {torch.bfloat16}
