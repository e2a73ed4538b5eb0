"""Sums of loss plugins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import Loss
from consistency_tta.training.weighted import WeightedLosses


class Constant(Loss):
    """The same values whatever comes; owns a buffer and a parameter that nobody must train or save."""

    def __init__(self, values: list[float], noise_weighted: bool = True) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(values))
        self.noise_weighted = noise_weighted

    def forward(self, out: Tensor) -> Tensor:
        return self.values + 0 * out


def test_weights_noise_weights_and_parts() -> None:
    losses = WeightedLosses(
        {"latent": Constant([1.0, 3.0]), "clap": Constant([10.0, 20.0], noise_weighted=False)}, {"clap": 0.1}
    )
    out = torch.zeros(2)
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
    assert losses(torch.zeros(1))["loss"].dtype == torch.float64


@pytest.mark.parametrize("name", ["train", "half", "clap/music", "mel.short"])
def test_any_name_will_do(name: str) -> None:
    out = torch.zeros(1, requires_grad=True)
    parts = WeightedLosses({name: Constant([2.0])})(out)
    assert set(parts) == {"loss", f"loss/{name}"}
    assert parts["loss"].requires_grad
    assert not parts[f"loss/{name}"].requires_grad


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="at least one loss"):
        WeightedLosses({})
    with pytest.raises(ValueError, match=r"'clapp', but the losses are \['clap'\]; did you mean 'clap'"):
        WeightedLosses({"clap": Constant([1.0])}, {"clapp": 1.0})
    with pytest.raises(ValueError, match=r"'clap' must return one value per example \(B,\), got shape \(2, 2\)"):
        WeightedLosses({"clap": Constant([1.0])})(torch.zeros(2, 2))
