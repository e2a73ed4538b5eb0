"""A step that is not finite leaves no trace but a count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from consistency_tta.contracts import Batch, Optimization
from consistency_tta.runtime.errors import ConfigurationError, DivergenceError
from consistency_tta.training.callbacks.nonfinite_steps import SkipNonFiniteSteps, step_taken
from tests.training.runs import BrokenLoss, data, distillation, equal, snapshot, trainer


class Snapshots(Callback):
    """All that a step changes, after each batch."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []
        self.skipped: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.states.append(snapshot(pl_module, trainer))
        self.skipped.append(float(trainer.callback_metrics.get("train/skipped_steps", 0)))


def run(
    teacher: Path,
    folder: Path,
    loss: BrokenLoss,
    max_in_a_row: int = 20,
    saving: Sequence[Callback] = (),
    **kwargs: Any,
) -> Snapshots:
    optimization = Optimization(learning_rate=1e-3, weight_decay=0.1, max_skipped_in_a_row=max_in_a_row)
    module = distillation(teacher, losses={"broken": loss}, optimization=optimization)
    notes = Snapshots()
    settings = {"max_steps": 6, "enable_checkpointing": bool(saving), "callbacks": [notes, *saving]} | kwargs
    trainer(folder, **settings).fit(module, data())
    return notes


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0], ids=["nan", "infinite", "gradient only"])
@pytest.mark.parametrize("settings", [{}, {"gradient_clip_val": 1.0, "precision": "bf16-mixed"}], ids=["plain", "bf16"])
def test_weights_optimizer_and_averages_stay(
    value: float, settings: dict[str, Any], teacher_folder: Path, tmp_path: Path
) -> None:
    notes = run(teacher_folder, tmp_path, BrokenLoss({2, 4}, value), **settings)
    unchanged = [equal(before, after) for before, after in zip(notes.states[:-1], notes.states[1:], strict=True)]
    assert unchanged == [False, True, False, True, False]
    assert notes.skipped == [0, 0, 1, 1, 2, 2]
    assert all(value.isfinite().all() for value in notes.states[-1].values())


def test_one_bad_part_of_an_accumulated_step_skips_the_whole(teacher_folder: Path, tmp_path: Path) -> None:
    notes = run(teacher_folder, tmp_path, BrokenLoss({2}), max_steps=3, accumulate_grad_batches=2)
    # Batches 0 and 1 make the first step, 2 and 3 the skipped one, 4 and 5 the last.
    assert equal(notes.states[1], notes.states[3])
    assert not equal(notes.states[3], notes.states[5])
    assert notes.skipped[-1] == 1


def test_too_many_in_a_row_stop_training_and_the_last_good_checkpoint_is_named(
    teacher_folder: Path, tmp_path: Path
) -> None:
    saving = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(DivergenceError, match=rf"{tmp_path}/step=2\.ckpt"):
        run(teacher_folder, tmp_path, BrokenLoss({2, 3, 4}), max_in_a_row=3, saving=[saving])


def test_as_many_that_are_not_in_a_row_do_not(teacher_folder: Path, tmp_path: Path) -> None:
    assert run(teacher_folder, tmp_path, BrokenLoss({0, 2, 4}), max_in_a_row=2).skipped[-1] == 3


def test_counts_survive_a_resume(teacher_folder: Path, tmp_path: Path) -> None:
    def fit(loss: BrokenLoss, max_steps: int, **kwargs: Any) -> Trainer:
        running = trainer(tmp_path, max_steps=max_steps)
        running.fit(distillation(teacher_folder, losses={"broken": loss}), data(), **kwargs)
        return running

    fit(BrokenLoss({5, 6}), 7).save_checkpoint(tmp_path / "it.ckpt")
    resumed = fit(BrokenLoss({0}), 8, ckpt_path=str(tmp_path / "it.ckpt"), weights_only=True)
    (counter,) = [callback for callback in resumed.callbacks if isinstance(callback, SkipNonFiniteSteps)]
    assert (counter.skipped, counter.in_a_row) == (3, 3)


@pytest.mark.parametrize("count", ["text", None, []])
def test_counts_that_are_no_numbers_are_refused(count: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        SkipNonFiniteSteps().load_state_dict({"skipped": count, "in_a_row": 0})


def examined(guard: SkipNonFiniteSteps, gradient: float, fused: bool = False, sharded: Any = None) -> Any:
    """An optimizer whose gradient the guard has seen."""
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.full((3,), gradient)
    optimizer = torch.optim.AdamW([weight], fused=fused)
    run: Any = SimpleNamespace(global_step=6, log_every_n_steps=50, checkpoint_callbacks=[], ckpt_path=None)
    logged: dict[str, Any] = {}
    module: Any = SimpleNamespace(log=logged.__setitem__, sharded=sharded)
    guard.on_before_optimizer_step(run, module, optimizer)
    assert logged == {"train/skipped_steps": guard.skipped}
    return optimizer


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("gradient", [1.0, 1e30, float("nan"), float("-inf")])  # the square of 1e30 is no float32
def test_optimizers_of_each_kind_skip(fused: bool, gradient: float) -> None:
    guard = SkipNonFiniteSteps()
    optimizer = examined(guard, gradient, fused)
    taken = gradient in (1.0, 1e30)
    assert (step_taken(optimizer), guard.skipped) == (taken, not taken)
    optimizer.step()
    [weight] = optimizer.param_groups[0]["params"]
    assert torch.equal(weight, torch.ones(3)) != taken


def test_all_processes_skip_where_one_has_a_part_that_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    def another_skips(skip: torch.Tensor, operation: Any) -> None:
        assert operation == torch.distributed.ReduceOp.MAX
        skip.fill_(1)

    monkeypatch.setattr(torch.distributed, "all_reduce", another_skips)
    assert step_taken(examined(SkipNonFiniteSteps(), 1.0, sharded=object())) == 0
    assert step_taken(examined(SkipNonFiniteSteps(), 1.0)) == 1


def test_as_many_in_a_row_as_are_too_many_stop() -> None:
    guard = SkipNonFiniteSteps(max_in_a_row=2)
    for gradient, in_a_row in ((float("nan"), 1), (1.0, 0), (float("nan"), 1)):
        examined(guard, gradient)
        assert guard.in_a_row == in_a_row
    with pytest.raises(DivergenceError, match=r"2 steps in a row.*3 skipped"):
        examined(guard, float("nan"))


def test_a_run_that_skipped_more_steps_than_it_took_has_failed() -> None:
    guard, run = SkipNonFiniteSteps(), SimpleNamespace(global_step=6, checkpoint_callbacks=[], ckpt_path=None)
    guard.load_state_dict({"skipped": 3, "in_a_row": 0})
    guard.check(run)  # type: ignore[arg-type]
    guard.load_state_dict({"skipped": 4, "in_a_row": 0})
    with pytest.raises(DivergenceError, match="4 of 6"):
        guard.on_train_end(run, None)  # type: ignore[arg-type]


def test_max_in_a_row_must_be_positive() -> None:
    SkipNonFiniteSteps(1)
    with pytest.raises(ConfigurationError, match="max_in_a_row"):
        SkipNonFiniteSteps(0)
