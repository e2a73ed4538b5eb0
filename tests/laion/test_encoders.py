"""Encoders of the extra ``laion`` embed sounds as ``frechet_audio_distance`` does with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from consistency_tta.components.laion_package import import_extra
from consistency_tta.metrics.encoders import make_encoder
from consistency_tta.runtime.errors import ShapeError


def package(model_name: str, model: nn.Module) -> Any:
    """Its own way from sounds to vectors; made without ``__init__``, which would fetch weights."""
    theirs: Any = object.__new__(import_extra("frechet_audio_distance", "this test").FrechetAudioDistance)
    theirs.model_name, theirs.model, theirs.verbose, theirs.device = (
        model_name,
        model.eval(),
        False,
        torch.device("cpu"),
    )
    return theirs


def sounds(samples: int) -> Tensor:
    """A tone, noise, and silence with a click."""
    waveform = torch.stack([torch.arange(samples).mul(0.1).sin(), 0.3 * torch.randn(samples), torch.zeros(samples)])
    waveform[2, samples // 2] = 0.5
    return waveform


@pytest.fixture(scope="module")
def cnn14(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[nn.Module, Path]]:
    """The package's network with random weights that let sounds through, and its file as the published one is."""
    torch.manual_seed(0)
    network = import_extra("frechet_audio_distance.models.pann", "this test").Cnn14_16k(
        16_000, 512, 160, 64, 50, 8000, 527
    )
    network.bn0.running_mean.fill_(-20)
    network.bn0.running_var.fill_(400)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    file = tmp_path_factory.mktemp("panns") / "Cnn14_16k_mAP%3D0.438.pth"
    sampler = {"indexes": np.arange(10), "pointer": 3}
    torch.save({"iteration": 5, "model": network.state_dict(), "sampler": sampler}, file)
    yield network.eval(), file
    file.unlink()  # a third of a gigabyte


def test_panns_equal_the_packages(cnn14: tuple[nn.Module, Path]) -> None:
    network, file = cnn14
    encoder = make_encoder("panns", weights=file.parent)
    waveform = sounds(40_000)
    embedding = encoder.embed_windows(waveform, 16_000)
    assert embedding.logits is not None
    expected = torch.as_tensor(package("pann", network).get_embeddings([*waveform.numpy()], 16_000)).reshape(3, -1)
    assert embedding.vectors.shape == (3, 1, encoder.num_features)
    assert torch.pdist(expected).min() > 0.1 * expected.norm(dim=1).max()
    print("PANNs", (embedding.vectors[:, 0] - expected).abs().max() / expected.abs().max())
    torch.testing.assert_close(embedding.vectors[:, 0], expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(embedding.logits.sigmoid(), network(waveform)["clipwise_output"])
    assert encoder.embed(waveform[:, : encoder.min_samples], 16_000).isfinite().all()
    with pytest.raises(ShapeError, match="4959"):
        encoder.embed(waveform[:, : encoder.min_samples - 1], 16_000)


def test_encodec_equals_the_packages(tmp_path: Path) -> None:
    model = import_extra("encodec", "this test").EncodecModel.encodec_model_24khz(pretrained=False)
    assert "encoder.model.0.conv.conv.weight_g" in model.state_dict()  # as in the published file
    for name, parameter in model.encoder.named_parameters():
        if name.endswith("weight_g"):
            parameter.data *= 2  # fresh networks hardly react to a sound
    torch.save(model.state_dict(), tmp_path / "encodec_24khz-d7cc33bc.th")
    encoder = make_encoder("encodec", weights=tmp_path)
    waveform = sounds(24_000)
    expected = torch.as_tensor(package("encodec", model).get_embeddings([*waveform.numpy()], 24_000))
    vectors = encoder.embed_windows(waveform, 24_000).vectors
    assert vectors.shape == (3, 75, encoder.num_features)
    assert torch.pdist(vectors.mean(1)).min() > 0.01
    print("EnCodec", (vectors.flatten(0, 1) - expected).abs().max() / expected.abs().max())
    torch.testing.assert_close(vectors.flatten(0, 1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["panns", "encodec", "laion-clap"])
def test_what_was_not_fetched_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        make_encoder(name, weights=tmp_path)
