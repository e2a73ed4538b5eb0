"""Both packages make the same of a checkpoint; needs the extra ``laion``: ``make test-laion``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from transformers import RobertaConfig

from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.laion import LaionClap
from consistency_tta.components.laion_package import untrained_module
from consistency_tta.components.reward_lineage import EncoderFingerprint
from consistency_tta.runtime.errors import CheckpointError, ShapeError
from consistency_tta.storage.checksum import checksum
from tests.laion_files import byte_tokenizer, laion_shapes

TEXT: dict[str, Any] = {"width": 768, "layers": 2, "inner": 64, "positions": 514}
TINY: dict[str, Any] = {"width": 96, "depths": [2, 2, 6, 2], "heads": [4, 8, 16, 32]}
BASE: dict[str, Any] = {"width": 128, "depths": [2, 2, 12, 2], "heads": [4, 8, 16, 32]}
CAPTIONS = ["a dog barks", "rain on a tin roof while somebody whistles", 30 * "very " + "long"]


class Made(NamedTuple):
    module: Any
    checkpoint: Path
    tokenizer: Path
    audio: dict[str, Any]
    vocabulary: int
    laion: LaionClap
    ours: TransformersClap


@pytest.fixture(scope="module", params=[TINY, BASE], ids=["HTSAT-tiny", "HTSAT-base"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The package's own module with random weights, and its checkpoint as the published ones are."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("laion")
    vocabulary = byte_tokenizer(folder / "tokenizer")
    text = RobertaConfig(
        vocab_size=vocabulary,
        num_hidden_layers=TEXT["layers"],
        intermediate_size=TEXT["inner"],
        max_position_embeddings=TEXT["positions"],
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
    )
    module: Any = untrained_module("HTSAT-tiny" if request.param is TINY else "HTSAT-base", text)
    # Fresh networks hardly react to sounds and captions: biases of 0, tables of 0.02, statistics of nothing.
    front_end = ("spectrogram_extractor", "logmel_extractor")
    with torch.no_grad():
        for name, parameter in module.model.named_parameters():
            if not any(part in name for part in front_end):
                parameter += (0.05 if parameter.ndim < 2 else 0.5 * parameter.std()) * torch.randn_like(parameter)
        module.model.audio_branch.bn0.running_mean.fill_(-20).add_(torch.randn(64))
        module.model.audio_branch.bn0.running_var.fill_(100).mul_(torch.rand(64) + 0.5)
    state = {f"module.{name}": tensor for name, tensor in module.model.state_dict().items()}
    state["module.text_branch.embeddings.position_ids"] = torch.arange(TEXT["positions"])[None]
    torch.save({"epoch": 15, "top": np.float64(0.9), "state_dict": state}, folder / "clap.pt")
    files = folder / "clap.pt", folder / "tokenizer"
    return Made(module, *files, request.param, vocabulary, LaionClap(*files), TransformersClap(*files))


def sounds(samples: int) -> torch.Tensor:
    """Noise whose loudness and colour rise and fall, differently in each."""
    time = torch.linspace(0, 20, samples)
    noise = torch.randn(2, samples)
    noise[1] = torch.nn.functional.avg_pool1d(noise[1][None], 9, 1, 4)[0]
    return 0.2 * noise * torch.stack([time.sin().square(), (0.3 * time).cos().abs()]) + 0.001 * torch.randn(2, samples)


def test_names_and_shapes_are_those_of_the_tests_without_the_package(made: Made) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in made.module.model.state_dict().items()}
    found["text_branch.embeddings.position_ids"] = (1, TEXT["positions"])
    assert found == laion_shapes(made.audio, TEXT | {"vocabulary": made.vocabulary})


def test_both_encoders_embed_sounds_as_the_package_does(made: Made) -> None:
    assert made.laion.sample_rate == made.ours.sample_rate == 48000
    assert EncoderFingerprint.of(made.laion).same_network(EncoderFingerprint.of(made.ours))
    for samples in (480_000, 130_000):
        waveform = sounds(samples)
        with torch.no_grad():
            expected = made.module.get_audio_embedding_from_data(waveform, use_tensor=True)
        assert (expected[0] - expected[1]).abs().max() > 0.01
        torch.testing.assert_close(made.laion.embed(waveform, 48_000), expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(made.ours.embed(waveform, 48_000), expected, atol=1e-5, rtol=0)


def test_metrics_get_the_same_vectors_and_the_checksum_of_the_checkpoint(made: Made) -> None:
    waveform = sounds(130_000)
    embedding = made.laion.embed_windows(waveform, 48_000)
    assert embedding.logits is None
    assert embedding.vectors.shape == (2, 1, made.laion.num_features)
    torch.testing.assert_close(embedding.vectors[:, 0], made.laion.embed(waveform, 48_000))
    assert made.laion.num_features == made.ours.num_features
    assert made.laion.checksum == made.ours.checksum == checksum(made.checkpoint)


def test_both_encoders_embed_captions_as_the_package_does(made: Made) -> None:
    def as_the_package_does(captions: list[str]) -> Any:
        return made.laion.tokenizer(captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt")

    with torch.no_grad():
        expected = made.module.get_text_embedding(CAPTIONS, tokenizer=as_the_package_does, use_tensor=True)
    assert torch.pdist(expected).min() > 0.05
    torch.testing.assert_close(made.laion.embed_text(CAPTIONS), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(made.ours.embed_text(CAPTIONS), expected, atol=1e-5, rtol=0)


def test_a_long_sound_is_cut_at_its_end_and_gradients_agree(made: Made) -> None:
    waveform = sounds(491_520)
    gradients = []
    for encoder in (made.laion, made.ours):
        sound = waveform.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=isinstance(encoder, LaionClap)):
            embedding = encoder.embed(sound, 48_000)
        assert torch.equal(embedding.detach(), encoder.embed(waveform[:, :480_000], 48_000).detach())
        embedding[:, :8].sum().backward()
        gradients.append(sound.grad)
    assert not gradients[0][:, 480_000:].any()
    share = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert share < 1e-3


def test_it_is_frozen_and_invisible(made: Made) -> None:
    owner = nn.Module()
    owner.encoder = LaionClap(made.checkpoint, made.tokenizer)
    owner.train()
    assert not owner.state_dict()
    assert not list(owner.parameters())
    assert not any(module.training for module in owner.encoder.module.modules())
    assert not any(parameter.requires_grad for parameter in owner.encoder.module.parameters())
    owner.to("meta")
    assert all(parameter.is_meta for parameter in owner.encoder.module.parameters())


def test_the_former_name_of_the_option_weights_is_accepted(made: Made) -> None:
    assert LaionClap(checkpoint=made.checkpoint, tokenizer=made.tokenizer).checksum == made.laion.checksum


def test_what_does_not_fit_is_named(made: Made, tmp_path: Path) -> None:
    state = torch.load(made.checkpoint, weights_only=False)["state_dict"]
    state["module.odd"] = state.pop("module.text_projection.0.bias")
    torch.save(state, tmp_path / "changed.pt")
    with pytest.raises(CheckpointError, match=r"changed\.pt(.|\n)*text_projection\.0\.bias(.|\n)*odd"):
        LaionClap(tmp_path / "changed.pt", made.tokenizer)
    with pytest.raises(CheckpointError, match=r"text_projection\.0\.bias(.|\n)*odd"):
        TransformersClap(tmp_path / "changed.pt", made.tokenizer)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        LaionClap(made.checkpoint, "nowhere")
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        LaionClap(tmp_path / "none.pt", made.tokenizer)
    with pytest.raises(ShapeError, match="9,"):
        made.laion.embed(torch.zeros(9), 48_000)
