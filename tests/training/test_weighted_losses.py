"""Sums of loss plugins."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import Batch, Loss
from consistency_tta.training.weighted_losses import WeightedLosses


class Constant(Loss):
    """The same values whatever comes; owns a buffer and a parameter that nobody must train or save."""

    def __init__(self, values: list, noise_weighted: bool = True) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(values))
        self.noise_weighted = noise_weighted

    def forward(self, out: SimpleNamespace) -> Tensor:
        return self.values + 0 * out.anything


def output(examples: int, anything: Tensor | float = 0.0) -> SimpleNamespace:
    return SimpleNamespace(batch=Batch(["a"] * examples, ["b"] * examples), anything=anything)


def test_weights_noise_weights_and_parts() -> None:
    losses = WeightedLosses(
        {"latent": Constant([1.0, 3.0]), "clap": Constant([10.0, 20.0], noise_weighted=False)}, {"clap": 0.1}
    )
    out = output(2)
    parts = losses(out, torch.tensor([0.5, 2.0]))
    assert {name: value.item() for name, value in parts.items()} == pytest.approx(
        {"loss": (0.5 * 1 + 2 * 3) / 2 + 0.1 * 15, "loss/latent": 2.0, "loss/clap": 15.0}
    )
    assert losses(out)["loss"].item() == pytest.approx(2 + 0.1 * 15)


def test_losses_are_neither_trained_nor_saved_but_move() -> None:
    losses = WeightedLosses({"latent": Constant([1.0])})
    assert list(losses.parameters()) == []
    assert losses.state_dict() == {}
    losses.to(torch.float64)
    assert losses(output(1))["loss"].dtype == torch.float64


@pytest.mark.parametrize("name", ["train", "half", "clap/music", "mel.short"])
def test_any_name_will_do(name: str) -> None:
    parts = WeightedLosses({name: Constant([2.0])})(output(1, torch.zeros(1, requires_grad=True)))
    assert set(parts) == {"loss", f"loss/{name}"}
    assert parts["loss"].requires_grad
    assert not parts[f"loss/{name}"].requires_grad


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="at least one loss"):
        WeightedLosses({})
    with pytest.raises(ValueError, match=r"'clapp', but the losses are \['clap'\]; did you mean 'clap'"):
        WeightedLosses({"clap": Constant([1.0])}, {"clapp": 1.0})
    for wrong in ([1.0], [[1.0, 2.0]] * 2):
        with pytest.raises(ValueError, match=r"'clap' must return one value per example, \(2,\), got"):
            WeightedLosses({"clap": Constant(wrong)})(output(2))
