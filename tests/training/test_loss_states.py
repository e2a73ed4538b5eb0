"""Losses without parameters keep what they carry from step to step."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from consistency_tta.contracts import Loss
from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.loss_states import (
    KEY,
    carried_state,
    counters,
    restore_loss_states,
    store_loss_states,
    warn_of_counters,
)
from consistency_tta.training.weighted_losses import WeightedLosses
from tests.training.runs import MAKERS, data, equal, trainer


class Squared(Loss):
    """The squared error times what the subclass gives."""

    def factor(self, error: Tensor) -> Any:
        return 1.0

    def forward(self, out: Any) -> Tensor:
        error = (out.student_latent - out.target_latent).square().flatten(1).mean(1)
        return error * self.factor(error)


class Mean(Squared):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))
        self.encoder = nn.Linear(2, 2).requires_grad_(False)

    def factor(self, error: Tensor) -> Any:
        self.mean.mul_(0.5).add_(0.5 * error.detach().mean())
        return 1 / self.mean


class Count(Squared):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def factor(self, error: Tensor) -> Any:
        self.calls += 1
        return self.calls


class SavedCount(Count):
    def get_extra_state(self) -> Any:
        return {"calls": self.calls}

    def set_extra_state(self, state: Any) -> None:
        self.calls = state["calls"]


class Random(Squared):
    def factor(self, error: Tensor) -> Any:
        return random.random() + np.random.rand()  # noqa: NPY002  # as other people's losses draw


@pytest.mark.parametrize("loss", [Mean, SavedCount, Random])
def test_a_resumed_run_is_the_straight_one(loss: type[Loss], teacher_folder: Path, tmp_path: Path) -> None:
    def run(steps: int, resume: Path | None = None) -> Any:
        torch.manual_seed(0)  # of the student's new layers
        module = MAKERS["distillation"](teacher_folder, losses={"own": loss()})
        fitted = trainer(tmp_path, max_steps=steps)
        fitted.fit(module, data(), ckpt_path=resume, weights_only=True)
        return fitted

    run(1).save_checkpoint(tmp_path / "one.ckpt")
    states = [one.lightning_module.state_dict() for one in (run(2), run(2, tmp_path / "one.ckpt"))]
    assert equal(*states)


def test_networks_in_a_loss_are_not_saved() -> None:
    loss = Mean()
    loss.levels = nn.BatchNorm1d(2, affine=False, track_running_stats=True)  # without weights
    loss.levels.num_batches_tracked = None
    assert carried_state(loss).keys() == {"mean", "levels.running_mean", "levels.running_var"}


def test_a_state_that_does_not_fit_is_named() -> None:
    losses = WeightedLosses({"own": Mean()})
    with pytest.raises(CheckpointError, match="own"):
        restore_loss_states({KEY: {"own": {"mean": torch.ones(3)}}}, losses)
    checkpoint: dict[str, Any] = {}
    store_loss_states(checkpoint, losses)
    assert checkpoint == {KEY: {"own": {"mean": torch.ones(())}}}
    restore_loss_states(checkpoint | {"more": 1}, losses)
    restore_loss_states({KEY: {"own": {}, "of another run": {"mean": torch.ones(3)}}}, losses)


def test_a_state_without_a_place_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    losses = WeightedLosses({"own": Mean()})
    with caplog.at_level(logging.WARNING):
        restore_loss_states({KEY: {"own": {"mean": torch.ones(())}}}, losses)
        assert not caplog.text
        restore_loss_states({KEY: {"own": {"count": torch.ones(())}}}, losses)
    assert "count" in caplog.text


def test_a_number_that_training_changes_and_no_checkpoint_has_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    losses = WeightedLosses({"own": Count(), "saved": SavedCount(), "still": Count()})
    before = counters(losses)
    losses["still"].kept_later = 1
    for name in ("own", "saved"):
        losses[name].calls = 3
    with caplog.at_level(logging.WARNING):
        warn_of_counters(before, losses)
    assert "own.calls" in caplog.text
    assert "saved.calls" not in caplog.text
    assert "still" not in caplog.text
