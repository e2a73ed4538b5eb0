"""What a training writes into its checkpoints, and takes from them."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.checkpoint_file import FORMAT, FORMAT_KEY, OPTIMIZED_KEY
from consistency_tta.training.loss_states import KEY as LOSSES_KEY
from consistency_tta.training.position import KEY as POSITION_KEY
from consistency_tta.training.training_record import FACTS_KEY
from consistency_tta.training.weighted_losses import WeightedLosses
from tests.training.test_loss_states import Count, SavedCount
from tests.training.test_position import Toy


class Given(Toy):
    """With an argument."""

    def __init__(self, value: Any) -> None:
        super().__init__()


def placed(**state: Any) -> Any:
    """A training of which nothing is known but how many steps it took."""
    module = Toy()
    settings: dict[str, Any] = {"global_step": 7, "callback_metrics": {}, "num_training_batches": float("inf")}
    settings |= {"ckpt_path": None, "optimizers": [], "accumulate_grad_batches": 1, "current_epoch": 0}
    settings |= {"state": SimpleNamespace(fn=TrainerFn.VALIDATING)}
    module._trainer = SimpleNamespace(**(settings | state))  # type: ignore[assignment]
    return module


@pytest.mark.parametrize("value", [None, "a", 1, 0.5, True, {"a": {"b": [1, ("c",)]}}, [], [None, {"a": 1}]], ids=str)
def test_plain_arguments_are_kept(value: Any) -> None:
    assert Given(value).hparams["value"] == value


@pytest.mark.parametrize("value", [nn.Linear(1, 1), {"a": torch.ones(1), "b": 1}, [1, [object]], ({"a": [{1}]},)])
def test_objects_are_not(value: Any) -> None:
    assert "value" not in Given(value).hparams


def test_a_checkpoint_has_its_format_and_facts_and_how_much_is_optimized() -> None:
    module = placed()
    checkpoint: dict[str, Any] = {"optimizer_states": [{"state": {0: {}, 1: {}}}, {}]}
    module.on_save_checkpoint(checkpoint)
    assert (checkpoint[FORMAT_KEY], checkpoint[OPTIMIZED_KEY]) == (FORMAT, [2, 0])
    assert checkpoint[FACTS_KEY]["steps"] == 7
    weights_alone: dict[str, Any] = {}
    module.on_save_checkpoint(weights_alone)
    assert weights_alone.keys() == {FORMAT_KEY, FACTS_KEY}


def test_losses_go_on_and_those_that_cannot_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    saved, resumed = placed(), placed()
    for module in (saved, resumed):
        module.losses = WeightedLosses({"saved": SavedCount(), "lost": Count()})
    saved.on_train_start()
    for name in ("saved", "lost"):
        saved.losses[name].calls = 3
    checkpoint: dict[str, Any] = {"state_dict": {}}
    with caplog.at_level(logging.WARNING):
        saved.on_save_checkpoint(checkpoint)
    assert "lost.calls" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        saved.on_save_checkpoint({})
    assert not caplog.text
    assert list(checkpoint[LOSSES_KEY]) == ["saved"]
    resumed.on_load_checkpoint(checkpoint)
    assert [resumed.losses[name].calls for name in ("saved", "lost")] == [3, 0]


def test_other_things_that_are_called_losses_are_left_alone() -> None:
    module, checkpoint = placed(), {"state_dict": {}}
    module.losses = ["mel"]
    module.on_train_start()
    module.on_save_checkpoint(checkpoint)
    module.on_load_checkpoint(checkpoint)
    assert LOSSES_KEY not in checkpoint


def test_weights_that_are_integers_or_not_finite_are_refused() -> None:
    module = placed(ckpt_path="last.ckpt")
    good = module.state_dict()
    module.on_load_checkpoint({"state_dict": good})
    with pytest.raises(CheckpointError, match=r"float32 as the weight network\.bias, got torch\.int64"):
        module.on_load_checkpoint({"state_dict": good | {"network.bias": torch.ones(8).long()}})
    broken = {"state_dict": good | {"network.bias": torch.full((8,), torch.nan)}}
    with pytest.raises(CheckpointError, match=r"last\.ckpt.*network\.bias"):
        module.on_load_checkpoint(broken)
    module._trainer = None  # as `load_from_checkpoint`, where `export` says so itself
    module.on_load_checkpoint(broken)


def test_rounded_weights_are_evaluated_but_no_run_goes_on_from_them() -> None:
    position = {"step": 9, "epoch": 0, "batch": 1, "total_batches": 1}
    checkpoint: dict[str, Any] = {"global_step": 9, "epoch": 0, POSITION_KEY: position}
    checkpoint["state_dict"] = {name: value.half() for name, value in placed().state_dict().items()}
    placed().on_load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match=r"float32 as the weight network\.\w+, got torch\.float16"):
        placed(state=SimpleNamespace(fn=TrainerFn.FITTING)).on_load_checkpoint(checkpoint)


def test_only_a_training_goes_on_at_the_position() -> None:
    position = {"step": 1, "epoch": 0, "batch": 1, "total_batches": 1}
    checkpoint = {"state_dict": {}, "global_step": 9, "epoch": 0, POSITION_KEY: position}  # of another step
    placed().on_load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="step to be the checkpoint's 9"):
        placed(state=SimpleNamespace(fn=TrainerFn.FITTING)).on_load_checkpoint(checkpoint)


def test_moments_that_are_not_finite_are_refused_where_a_run_goes_on() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    optimizer.state[weight]["exp_avg"].fill_(torch.nan)
    with pytest.raises(CheckpointError, match=r"last\.ckpt.*exp_avg"):
        placed(optimizers=[optimizer], ckpt_path="last.ckpt").on_train_start()
    placed(optimizers=[optimizer]).on_train_start()


def test_batches_of_a_step_are_those_of_the_epoch_that_a_run_enters() -> None:
    module = placed(current_epoch=2, callbacks=[GradientAccumulationScheduler({0: 3, 2: 5})])
    module.on_train_start()
    assert module.trainer.accumulate_grad_batches == 5
