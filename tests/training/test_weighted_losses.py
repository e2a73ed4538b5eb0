"""Sums of loss plugins."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from consistency_tta.components.reward_lineage import EncoderFingerprint, RewardLineage
from consistency_tta.contracts import Batch, DistillationOutput, Loss, Optimization
from consistency_tta.losses import LatentL2Loss
from consistency_tta.runtime.errors import ConfigurationError, ShapeError
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training.weighted_losses import WeightedLosses
from tests.toy_encoder import ToyEncoder
from tests.training.runs import Losses, data, distillation, equal, snapshot, trainer


class Constant(Loss):
    """The same values whatever comes; owns a weight that nobody must train or save."""

    def __init__(self, values: list, noise_weighted: bool = True) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values), requires_grad=False)
        self.noise_weighted = noise_weighted

    def forward(self, out: SimpleNamespace) -> Tensor:
        return self.values + 0 * out.anything


def test_weights_that_train_nothing_are_refused() -> None:
    losses: dict[str, Loss] = {"a": Constant([1.0]), "b": Constant([1.0])}
    with pytest.raises(ConfigurationError, match=r"'a': 0\.0, 'b': 0\.0"):
        WeightedLosses(losses, {"a": 0.0, "b": 0.0}).require_weight()
    for weights in ({"a": 0.0}, {"a": 0.0, "b": -1.0}, None):
        WeightedLosses(losses, weights).require_weight()
    WeightedLosses({}).require_weight()  # an objective has losses of its own
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match=str(wrong)):
            WeightedLosses(losses, {"a": wrong})


class Returns(Loss):
    """Whatever it is given."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, out: object) -> Any:
        return self.value


class Scaled(Loss):
    """A squared error whose scale is learnt; owns a frozen network, too."""

    def __init__(self, optimization: Optimization | None = None) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.frozen = Frozen(network=nn.Linear(2, 2))
        self.settings = optimization

    def forward(self, out: DistillationOutput) -> Tensor:
        error = (out.student_latent - out.target_latent).square().flatten(1).mean(1)
        return error * (-self.log_scale).exp() + self.log_scale

    def optimization(self) -> Optimization | None:
        return self.settings


class FrozenInside(Loss):
    """Owns a network, which is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = Frozen(network=nn.Linear(2, 2))

    def forward(self, out: SimpleNamespace) -> Tensor:
        return self.frozen.network(torch.ones(len(out.batch), 2).to(self.frozen.network.weight)).sum(1)


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


@pytest.mark.parametrize("loss", [Constant([1.0]), FrozenInside()])
def test_losses_without_trainable_parameters_are_neither_trained_nor_saved_but_move(loss: Loss) -> None:
    losses = WeightedLosses({"latent": loss})
    assert list(losses.parameters()) == []
    assert losses.state_dict() == {}
    assert losses.learners() == {}
    losses.to(torch.float64)
    assert losses(output(1))["loss"].dtype == torch.float64


def test_losses_with_parameters_are_learners_with_their_own_settings() -> None:
    settings = Optimization(learning_rate=0.5)
    own, default = Scaled(settings), Scaled()
    losses = WeightedLosses({"latent": LatentL2Loss(), "scaled.own": own, "scaled": default})
    learners = losses.learners()
    assert list(learners) == ["loss/scaled.own", "loss/scaled"]
    assert learners["loss/scaled.own"].module is own
    assert learners["loss/scaled.own"].optimization == settings
    assert learners["loss/scaled"].optimization is None
    # Not registered twice, and without the frozen network.
    assert {id(p) for p in losses.parameters()} == {id(own.log_scale), id(default.log_scale)}
    assert len(losses.state_dict()) == 2


def test_a_loss_with_parameters_is_trained_saved_and_resumed(teacher_folder: Path, tmp_path: Path) -> None:
    def make() -> Scaled:
        return Scaled(Optimization(learning_rate=0.1))

    straight, resumed = Losses(), Losses()
    module = distillation(teacher_folder, losses={"scaled.latent": make()})
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    run = trainer(tmp_path, max_steps=4, callbacks=[straight, saver], enable_checkpointing=True)
    run.fit(module, data())
    assert float(module.losses["scaled.latent"].log_scale.detach()) != 0
    assert "train/loss/scaled.latent" in run.callback_metrics
    assert [group["name"] for group in run.optimizers[0].param_groups] == ["student", "loss/scaled.latent"]
    [key] = [key for key in module.state_dict() if key.endswith("log_scale")]
    saved = torch.load(tmp_path / "step=2.ckpt", weights_only=True)["state_dict"]
    assert float(saved[key]) not in (0.0, float(module.state_dict()[key]))

    again = distillation(teacher_folder, losses={"scaled.latent": make()})
    rerun = trainer(tmp_path, max_steps=4, callbacks=[resumed])
    rerun.fit(again, data(), ckpt_path=str(tmp_path / "step=2.ckpt"), weights_only=True)
    assert resumed.values == straight.values[2:]
    assert equal(snapshot(module, run), snapshot(again, rerun))


@pytest.mark.parametrize("name", ["train", "half", "clap/music", "mel.short"])
@pytest.mark.parametrize("trained", [False, True])
def test_any_name_will_do(name: str, trained: bool) -> None:
    loss = Constant([2.0])
    loss.values.requires_grad_(trained)
    parts = WeightedLosses({name: loss})(output(1, torch.zeros(1, requires_grad=True)))
    assert set(parts) == {"loss", f"loss/{name}"}
    assert parts["loss"].requires_grad
    assert not parts[f"loss/{name}"].requires_grad


def test_some_take_part_in_training_alone() -> None:
    adversary = Constant([2.0])
    adversary.training_only = True
    adversary.scalars = lambda: {"real": torch.ones(1, requires_grad=True)}  # type: ignore[method-assign]
    losses = WeightedLosses({"latent": Constant([1.0]), "adversary": adversary})
    assert losses(output(1))["loss"] == 3
    assert not losses(output(1))["loss/adversary/real"].requires_grad
    assert losses(output(1), training=False) == {"loss": 1, "loss/latent": 1}
    with pytest.raises(ConfigurationError, match="adversary"):
        WeightedLosses({"adversary": adversary})(output(1), training=False)


def test_encoders_of_losses_are_rewards() -> None:
    guided = Constant([1.0])
    guided.encoder = ToyEncoder()
    lineage = WeightedLosses({"latent": Constant([1.0]), "clap": guided}).rewards
    assert lineage == RewardLineage((EncoderFingerprint.of(guided.encoder),), complete=True)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigurationError, match="none"):
        WeightedLosses({})(output(2))
    with pytest.raises(ConfigurationError, match=r"clapp.*mean 'clap'"):
        WeightedLosses({"clap": Constant([1.0])}, {"clapp": 1.0})
    with pytest.raises(ConfigurationError, match=r"mel.*'clap'\]$"):  # nothing like it
        WeightedLosses({"clap": Constant([1.0])}, {"mel": 1.0})


@pytest.mark.parametrize(
    "wrong",
    [
        torch.ones(1),
        torch.ones(2, 2),
        torch.ones(()),
        torch.ones(2, dtype=torch.long),
        torch.ones(2, dtype=torch.bool),
        torch.ones(2, dtype=torch.complex64),
        np.ones(2),
        [1.0, 1.0],
        {"value": torch.ones(2)},
        1.0,
        None,
    ],
    ids=str,
)
def test_what_is_no_value_per_example_is_refused(wrong: object) -> None:
    with pytest.raises(ShapeError, match="clap"):
        WeightedLosses({"clap": Returns(wrong)})(output(2))


def test_an_iterator_that_ends_within_a_loss_does_not_end_the_epoch(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder, losses={"mine": Returns(None)})
    module.losses["mine"].forward = lambda out: next(iter(()))  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match="StopIteration"):
        trainer(tmp_path, max_steps=1).fit(module, data())


@pytest.mark.parametrize("value", [torch.ones(4), torch.ones(4, requires_grad=True).detach()], ids=["constant", "cut"])
def test_a_training_without_any_gradient_is_refused(value: Tensor, teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder, losses={"mine": Returns(value)})
    with pytest.raises(ConfigurationError, match="gradient"):
        trainer(tmp_path, max_steps=1).fit(module, data())
