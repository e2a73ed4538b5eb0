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


def test_as_many_losses_as_the_memory_come_before_each_warning() -> None:
    usual = [1.0, 1.1] * 25
    assert warnings_of([*usual[:49], 1e6], every=1) == []
    assert warnings_of([*usual, 1e6, 1e12, 1e18], every=1) == [51]
    assert warnings_of([*usual, 1e6, *usual[:48], 1e30], every=1) == [51]
    assert warnings_of([*usual, 1e6, *usual[:49], 1e30], every=1) == [51, 101]


def test_a_jump_is_one_by_the_deviation_and_not_by_the_mean() -> None:
    assert warnings_of([1.0] * 60 + [1.1], every=1) == [61]
    assert warnings_of([0.0] * 100) == []


def test_losses_wait_on_the_device_without_their_graphs() -> None:
    spikes, run = LossSpikes(), SimpleNamespace(log_every_n_steps=10, global_step=1)
    spikes.on_train_batch_end(run, None, {"loss": torch.ones((), requires_grad=True)}, None, 0)  # type: ignore[arg-type]
    [(step, loss)] = spikes.unread
    assert (step, loss.requires_grad) == (1, False)


def test_averages_are_exponential_beyond_the_memory() -> None:
    spikes = LossSpikes(deviations=1e9, memory=2)
    found = []
    for step, loss in enumerate([1.0, 3.0, 7.0]):
        spikes._compare(SimpleNamespace(), step, loss)  # type: ignore[arg-type]
        found.append((spikes.mean, spikes.deviation))
    assert found == [(1, 0), (2, 1), (4.5, 3)]


def test_averages_are_plain_within_the_memory() -> None:
    spikes = LossSpikes(deviations=0.5, memory=100)
    losses = ordinary(40)
    for step, loss in enumerate(losses):
        spikes._compare(SimpleNamespace(), step, loss)  # type: ignore[arg-type]
    assert spikes.mean == pytest.approx(sum(losses) / 40)
    apart = [abs(loss - sum(losses[:step]) / step) for step, loss in enumerate(losses) if step]
    assert spikes.deviation == pytest.approx(sum(apart) / 40)


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
