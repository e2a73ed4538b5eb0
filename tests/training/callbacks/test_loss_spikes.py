"""A loss that jumps is warned of, with the checkpoint from before."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.callbacks.loss_spikes import LossSpikes
from tests.training.test_position import Toy, data, trainer


def warnings_of(losses: list[float], every: int = 10) -> list[int]:
    """The steps that a run with these losses warns of."""
    spikes, steps = LossSpikes(memory=50), []
    run: Any = SimpleNamespace(log_every_n_steps=every, is_global_zero=True, checkpoint_callbacks=[], ckpt_path=None)
    log = logging.getLogger("consistency_tta.training.callbacks.loss_spikes")
    handler = logging.Handler()
    handler.emit = lambda record: steps.append(record.args[1])  # type: ignore[method-assign, index]
    log.addHandler(handler)
    try:
        for step, loss in enumerate(losses, start=1):
            run.global_step = step
            spikes.on_train_batch_end(run, None, {"loss": torch.tensor(loss)}, None, 0)  # type: ignore[arg-type]
    finally:
        log.removeHandler(handler)
    return steps


def ordinary(steps: int, seed: int = 0) -> list[float]:
    """Losses that fall by a factor of ten and vary by as much, as those of random noise levels do."""
    noise = torch.randn(steps, generator=torch.Generator().manual_seed(seed)).exp()
    return (noise * torch.linspace(1, 0.1, steps)).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_ordinary_losses_are_not_warned_of(seed: int) -> None:
    assert warnings_of(ordinary(2000, seed)) == []


@pytest.mark.parametrize("every", [1, 10, 50])
def test_a_jump_is_warned_of_once(every: int) -> None:
    losses = ordinary(400)
    losses[200:230] = [1e3] * 30
    assert warnings_of(losses, every) == [201]


def test_nothing_is_compared_or_kept_where_nothing_is_logged() -> None:
    spikes, run = LossSpikes(memory=1), SimpleNamespace(log_every_n_steps=0, global_step=1)
    spikes.on_train_batch_end(run, None, {"loss": torch.tensor(1.0)}, None, 0)  # type: ignore[arg-type]
    assert spikes.unread == []


def test_neither_the_beginning_nor_a_loss_that_is_not_finite_is_a_jump() -> None:
    losses = [1e6, 1e6, *ordinary(200)]
    losses[150] = float("nan")
    losses[151] = float("inf")
    assert warnings_of(losses) == []


def test_a_constant_loss_may_change_by_rounding() -> None:
    assert warnings_of([1.0] * 200 + [1.0 + 1e-7] * 100) == []


class Jumps(Toy):
    """A toy whose loss jumps at step 8."""

    def loss(self, batch: Any, rng: Any) -> torch.Tensor:
        return super().loss(batch, rng) * (1e6 if self.trainer.global_step == 7 else 1.0)

    def configure_callbacks(self) -> list[Any]:
        return [LossSpikes(memory=5)]


@pytest.mark.parametrize(("every", "last"), [(3, 6), (4, 4)])  # not the one of step 8, whose loss had jumped
def test_the_last_good_checkpoint_is_named(
    every: int, last: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saving = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=every)
    run = trainer(tmp_path, saving, max_steps=12, log_every_n_steps=10)
    run.fit(Jumps(), data())
    (warning,) = [record for record in caplog.records if record.name.endswith("loss_spikes")]
    assert str(tmp_path / f"step={last}.ckpt") in warning.getMessage()


@pytest.mark.parametrize("settings", [{"deviations": 0.0}, {"memory": 0}])
def test_settings_without_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="0"):
        LossSpikes(**settings)
