"""The perceptual loss: zero for equal sounds, LPIPS by hand, gradients, and what an encoder has to have."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.networks import clap
from consistency_tta.contracts import Batch
from consistency_tta.losses import PerceptualLoss
from consistency_tta.runtime.errors import ConfigurationError
from tests.components.test_clap import SMALL
from tests.losses.outputs import Sounds
from tests.toy_encoder import ToyEncoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TransformersClap:
    folder = tmp_path_factory.mktemp("clap")
    torch.manual_seed(0)
    clap(**SMALL).save_pretrained(folder)
    return TransformersClap(folder)


def sounds(student: Tensor, target: Tensor) -> Sounds:
    return Sounds(student_waveform=student, target_waveform=target, batch=Batch(["a dog"] * 2, ["1", "2"]))


def noise(seed: int) -> Tensor:
    return 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(seed))


def test_it_is_zero_for_equal_sounds_and_grows_with_noise(encoder: TransformersClap) -> None:
    loss, target = PerceptualLoss(encoder), noise(0).cumsum(1) / 30
    values = [loss(sounds(target + share * noise(1), target)) for share in (0.0, 0.05, 1.0)]
    torch.testing.assert_close(values[0], torch.zeros(2))
    assert (values[0] < values[1]).all()
    assert (values[1] < values[2]).all()
    assert (values[2] <= 4).all()
    assert not loss.noise_weighted


@pytest.mark.parametrize("skip", [0, 2])
def test_it_is_the_distance_of_unit_channels(encoder: TransformersClap, skip: int) -> None:
    features = [encoder.layer_features(noise(seed), 16000) for seed in (0, 1)]
    assert len(features[0]) == 3  # the patches', and each of two levels'
    expected = []
    for ours, theirs in list(zip(*features, strict=True))[skip:]:
        cosine = torch.nn.functional.cosine_similarity(ours, theirs, dim=1)
        expected.append((2 - 2 * cosine).flatten(1).mean(1))
    found = PerceptualLoss(encoder, skip)(sounds(noise(0), noise(1)))
    torch.testing.assert_close(found, torch.stack(expected).mean(0), rtol=1e-4, atol=1e-6)
    assert torch.equal(found, PerceptualLoss(encoder)(sounds(noise(0), noise(1)))) == (skip == 0)


def test_features_of_half_precision_are_compared_in_float32(
    encoder: TransformersClap, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [layer.bfloat16() for layer in encoder.layer_features(noise(0), 16000)]
    monkeypatch.setattr(encoder, "layer_features", lambda sound, _: layers if sound.dtype == torch.float32 else [])
    for unit in PerceptualLoss(encoder).features(noise(0).bfloat16(), 16000):
        torch.testing.assert_close(unit.square().sum(1), torch.ones_like(unit[:, 0]), rtol=1e-5, atol=0)


def test_a_step_against_the_gradient_brings_the_sound_nearer(encoder: TransformersClap) -> None:
    loss, student, target = PerceptualLoss(encoder), noise(0).requires_grad_(), noise(1).requires_grad_()
    value = loss(sounds(student, target))
    value.sum().backward()
    assert target.grad is None
    step = student.detach() - 0.05 * student.grad / student.grad.abs().max()
    assert (loss(sounds(step, target)) < value).all()


def test_wrong_arguments_are_named(encoder: TransformersClap) -> None:
    with pytest.raises(ConfigurationError, match="skip"):
        PerceptualLoss(encoder, -1)
    with pytest.raises(ConfigurationError, match="3"):
        PerceptualLoss(encoder, 3)(sounds(noise(0), noise(1)))
    with pytest.raises(ConfigurationError, match="ToyEncoder"):
        PerceptualLoss(ToyEncoder())
