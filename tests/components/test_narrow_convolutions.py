"""Convolutions of few channels are as exact in bfloat16 as its rounding allows, on every processor."""

from __future__ import annotations

from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from unittest import mock

import pytest
import torch
from diffusers import AutoencoderOobleck
from lightning.pytorch import Trainer
from torch import nn

from consistency_tta.components.narrow_convolutions import NARROW, compute_narrow_in_float32, wrong_in_bfloat16
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training.placed_networks import PlacedNetworks
from tests.toys import OOBLECK

#: Each was wrong on a processor with AMX: (layer, shape that it reads).
LAYERS = [
    (nn.Conv1d(8, 16, 8, stride=4, padding=2), (2, 8, 64)),
    (nn.Conv1d(16, 16, 4, stride=2, padding=1, bias=False), (1, 16, 64)),
    (nn.Conv1d(4, 8, 16, padding=8), (1, 4, 64)),
    (nn.Conv1d(32, 32, 8, groups=4), (1, 32, 64)),
    (nn.Conv2d(8, 8, 8, padding=4), (1, 8, 32, 16)),
    (nn.Conv2d(1, 64, 16, stride=10), (1, 1, 64, 32)),
    (nn.ConvTranspose1d(32, 16, 4, stride=2, padding=1), (1, 32, 64)),
    (nn.ConvTranspose2d(16, 8, 8), (1, 16, 16, 16)),
]


def passes(layer: nn.Module, features: torch.Tensor, autocast: bool) -> list[torch.Tensor]:
    """What a layer returns, and the gradients of what it reads and of its weights."""
    layer, features = deepcopy(layer), features.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = layer(features)
    torch.manual_seed(1)
    out.backward(torch.randn(out.shape).to(out.dtype))
    return [out.detach(), features.grad, layer.weight.grad]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value))
def test_values_and_gradients_under_autocast_are_those_of_float32(layer: nn.Module, shape: tuple[int, ...]) -> None:
    features = torch.randn(shape)
    expected = passes(layer, features, autocast=False)
    network = nn.Sequential(deepcopy(layer))
    assert compute_narrow_in_float32(network) == 1
    found = passes(deepcopy(network)[0], features, autocast=True)
    assert found[0].dtype == torch.bfloat16
    for own, exact in zip(found, expected, strict=True):
        assert (own - exact).abs().max() < 0.01 * exact.abs().max()


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value))
def test_networks_in_bfloat16_take_and_give_it(layer: nn.Module, shape: tuple[int, ...]) -> None:
    network, features = nn.Sequential(deepcopy(layer)), torch.randn(shape).bfloat16()
    compute_narrow_in_float32(network)
    with torch.no_grad():
        found = network.to(torch.bfloat16)(features)
        expected = network.to(torch.float64)(features.double())
    assert found.dtype == torch.bfloat16
    assert (found - expected).abs().max() < 0.01 * expected.abs().max()


def test_wide_layers_and_few_taps_are_left_as_they_are() -> None:
    network = nn.Sequential(nn.Conv1d(32, 8, 8), nn.Conv2d(8, 32, 3), nn.ConvTranspose1d(8, 32, 16), nn.Linear(8, 8))
    kinds = [type(layer) for layer in network]
    assert compute_narrow_in_float32(network) == 0
    assert [type(layer) for layer in network] == kinds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wider_numbers_are_bit_for_bit_what_they_were(dtype: torch.dtype) -> None:
    layer, features = nn.Conv1d(8, 16, 8).to(dtype), torch.randn(1, 8, 64, dtype=dtype)
    expected = layer(features)
    compute_narrow_in_float32(layer)
    assert torch.equal(layer(features), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transposed_ones_may_be_given_the_length_of_what_they_return(dtype: torch.dtype) -> None:
    layer, features = nn.ConvTranspose1d(8, 8, 4, stride=2).to(dtype), torch.randn(1, 8, 64, dtype=dtype)
    compute_narrow_in_float32(layer)
    assert [layer(features, [length]).shape[-1] for length in (130, 131)] == [130, 131]


@pytest.mark.parametrize(
    ("capabilities", "wrong"), [({"amx_bf16": True}, True), ({"amx_bf16": False}, False), ({}, False)]
)
def test_processors_are_known_by_their_kernels(
    capabilities: dict[str, bool], wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert wrong_in_bfloat16() is wrong
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in older versions of torch
    assert not wrong_in_bfloat16()


def narrow(network: nn.Module) -> int:
    """How many layers compute in float32."""
    return sum(type(layer) in NARROW.values() for layer in network.modules())


@pytest.mark.parametrize("wrong", [True, False])
def test_models_and_trainings_have_them_where_the_processor_is_wrong(wrong: bool, tmp_path: Path) -> None:
    class Training(PlacedNetworks):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.frozen = nn.Conv1d(8, 8, 8), Frozen(loss=nn.Conv2d(1, 8, 16))

    training = Training()
    with ExitStack() as stack:
        for place in ("consistency_tta.pipeline.model_folder", "consistency_tta.training.placed_networks"):
            stack.enter_context(mock.patch(f"{place}.wrong_in_bfloat16", return_value=wrong))
        vae = TextToAudioPipeline(vae=AutoencoderOobleck(**OOBLECK)).vae
        training.trainer = Trainer(accelerator="cpu", precision="bf16-mixed", logger=False, default_root_dir=tmp_path)
        training.setup("fit")
    assert (narrow(vae) > 0) == (narrow(training) == narrow(training.frozen.loss) == 1) == wrong
