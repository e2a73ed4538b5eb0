"""A run that is resumed, however often and wherever, ends as the uninterrupted one."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor, nn

from consistency_tta.contracts import Batch, Optimization
from consistency_tta.datamodules.synthetic import SyntheticDataModule
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.checkpoint_file import check_resumable
from consistency_tta.training.position import KEY, Position, stored_position
from consistency_tta.training.step_rng import StepRNG
from tests.training.runs import differences

BATCHES = 5  # of an epoch, which with two accumulated has three steps


class Toy(TrainingModule):
    """One linear layer; the loss draws noise from both of the generators."""

    def __init__(self) -> None:
        super().__init__(Optimization(learning_rate=0.1, warmup_steps=3), seed=1)
        torch.manual_seed(0)
        self.network = nn.Linear(8, 8)
        self.seen: list[Any] = []

    sample_rate = 16000

    def trainable(self) -> nn.Module:
        return self.network

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        if self.trainer.training:
            self.seen.append((self.trainer.global_step, rng.epoch, rng.batch_idx, batch.ids))
        noisy = batch.waveform[:, :8] + rng.normal_like(batch.waveform[:, :8])
        loss = (self.network(noisy) - torch.rand(8)).square().mean()
        self.log_losses({"loss": loss}, len(batch))
        return loss

    def pipeline(self) -> TextToAudioPipeline:
        raise NotImplementedError

    def previews(self, batch: Batch) -> list[Preview]:
        return []


class Save(Callback):
    """Saves a checkpoint in a hook, at every step."""

    def __init__(self, folder: Path, hook: str) -> None:
        self.folder = folder
        setattr(self, hook, self.save)

    def save(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / f"step={trainer.global_step}.ckpt")


def trainer(folder: Path, saving: Any = None, **options: Any) -> Trainer:
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "default_root_dir": folder,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": isinstance(saving, ModelCheckpoint),
        "callbacks": [saving] if saving else [],
        "accumulate_grad_batches": 2,
        "log_every_n_steps": 1,
    }
    return Trainer(**(settings | options))


def data(num_workers: int = 0, num_val_clips: int = 2) -> SyntheticDataModule:
    sizes = {"num_clips": 2 * BATCHES, "num_val_clips": num_val_clips, "num_samples": 8, "batch_size": 2}
    return SyntheticDataModule(**sizes, num_workers=num_workers, seed=3)


def fit(folder: Path, resume: Path | None = None, saving: Any = None, num_workers: int = 0, **options: Any) -> Toy:
    module = Toy()
    trainer(folder, saving, **options).fit(module, data(num_workers), ckpt_path=resume, weights_only=True)
    return module


def state(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint must have in common with the straight run's of the same step."""
    content = torch.load(checkpoint, weights_only=True)
    return {
        "weights": content["state_dict"],
        "optimizer": content["optimizer_states"],
        "schedule": content["lr_schedulers"],
        "position": content[KEY],
    }


EVERY_STEP = {"every_n_train_steps": 1}
EVERY_OTHER_STEP = {"every_n_train_steps": 2}
EPOCH_END = {"every_n_epochs": 1, "save_on_train_epoch_end": True}
AFTER_VALIDATION = {"every_n_epochs": 1, "save_on_train_epoch_end": False}


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize("length", ["max_steps", "max_epochs"])
@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (EVERY_STEP, {}),
        (EVERY_STEP, {"val_check_interval": 3}),
        (EVERY_STEP, {"limit_val_batches": 0, "accumulate_grad_batches": 1}),
        (EVERY_STEP, {"check_val_every_n_epoch": None, "val_check_interval": 4, "num_sanity_val_steps": 0}),
        (EPOCH_END, {}),
        (EPOCH_END, {"limit_val_batches": 0}),
        (AFTER_VALIDATION, {}),
        (EVERY_OTHER_STEP, {"num_workers": 2, "limit_val_batches": 0}),
    ],
    ids=str,
)
def test_every_chain_of_up_to_three_resumes(length: str, rule: dict, options: dict, tmp_path: Path) -> None:
    steps = 3 * (BATCHES if options.get("accumulate_grad_batches") == 1 else 3)

    def run(name: str, last: int, resume: Path | None = None) -> tuple[Toy, dict[int, Path]]:
        folder = tmp_path / name
        saving = ModelCheckpoint(folder, filename="{step}", save_top_k=-1, **rule)
        limit = {"max_steps": last} if length == "max_steps" else {"max_epochs": -(-last * 3 // steps)}
        module = fit(folder, resume, saving, **limit, **options)
        return module, {int(file.stem.split("=")[1]): file for file in folder.glob("*.ckpt")}

    straight, expected = run("straight", steps)
    want = {step: state(file) for step, file in expected.items()}
    chains = [chain for count in (1, 2, 3) for chain in combinations(sorted(expected)[:-1], count)]
    made: dict[tuple[int, ...], Path] = {}
    # Of the hundreds of chains of nine and more checkpoints, eight spread evenly, unless all are wanted.
    for chain in chains[:: 1 if os.environ.get("CHAINS") == "all" else math.ceil(len(chains) / 8)]:
        for end in range(1, len(chain) + 1):
            part = chain[:end]
            if part in made:
                continue
            before = made.get(part[:-1])
            _, files = run("-".join(map(str, ("chain", *part))), part[-1], before)
            assert differences(state(files[part[-1]]), want[part[-1]]) == [], part
            made[part] = files[part[-1]]
        module, _ = run("-".join(map(str, ("end", *chain))), steps, made[chain])
        assert module.seen == [seen for seen in straight.seen if seen[0] >= chain[-1]], chain
        assert torch.equal(module.network.weight, straight.network.weight), chain


def test_states_that_differ_by_a_bit_anywhere_are_told_apart() -> None:
    def moments() -> dict[str, Any]:
        return {
            "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.linspace(0, 1, 4000)}},
            "groups": [{"lr": 0.1}],
        }

    changed = moments()
    exp_avg = changed["state"][0]["exp_avg"]
    exp_avg[2000] = exp_avg[2000].nextafter(torch.tensor(1.0))
    changed["groups"][0]["lr"] = math.nextafter(0.1, 1)
    assert differences(moments(), moments()) == []
    assert differences(moments(), changed) == [".state.0.exp_avg", ".groups.0.lr"]
    assert differences(moments(), {"state": {}, "groups": []}) == [".state", ".groups"]


@pytest.mark.parametrize(
    "hook",
    ["on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_before_zero_grad", "on_validation_start"],
)
def test_a_checkpoint_of_any_hook_goes_on_at_the_next_step(hook: str, tmp_path: Path) -> None:
    """As a signal handler saves one, inside a step whose gradients are not complete."""
    straight = fit(tmp_path, None, Save(tmp_path, hook), max_steps=8, num_sanity_val_steps=0)
    files = sorted(tmp_path.glob("step=*.ckpt"))
    assert files
    for file in files:
        step = int(file.stem.split("=")[1])
        resumed = fit(tmp_path, file, max_steps=8)
        assert resumed.seen == [seen for seen in straight.seen if seen[0] >= step], step
        assert torch.equal(resumed.network.weight, straight.network.weight), step


@pytest.mark.parametrize(
    ("accumulated", "expected"),
    [
        (2, [(0, 2, 2), (0, 4, 4), (1, 0, 5), (1, 2, 7)]),  # the last step of an epoch has one batch
        (1, [(0, 1, 1), (0, 2, 2), (0, 3, 3), (0, 4, 4), (1, 0, 5), (1, 1, 6)]),
        (5, [(1, 0, 5), (2, 0, 10)]),
    ],
)
def test_the_position_after_each_step(accumulated: int, expected: list[tuple[int, ...]], tmp_path: Path) -> None:
    steps = len(expected)
    save = Save(tmp_path, "on_train_batch_end")
    fit(tmp_path, None, save, max_steps=steps, accumulate_grad_batches=accumulated, limit_val_batches=0)
    for step, (epoch, batch, total_batches) in enumerate(expected, 1):
        content = torch.load(tmp_path / f"step={step}.ckpt", weights_only=True)
        assert stored_position(content) == Position(step, epoch, batch, total_batches)


class Events(DummyLogger):
    """A callback and logger that notes where epochs, batches and validations begin, and at which steps is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.callback, self.events = Callback(), []
        self.callback.on_train_epoch_start = lambda run, _: self.note("epoch", run.current_epoch)
        self.callback.on_train_epoch_end = lambda run, _: self.note("epoch's end", run.current_epoch)
        self.callback.on_train_batch_start = lambda run, _, batch, index: self.note("train", run.global_step, index)
        self.callback.on_validation_batch_start = lambda run, _, batch, index: self.note("val", run.global_step, index)

    def note(self, *event: Any) -> None:
        self.events.append(event)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.note("log", step, *sorted(metrics))


class SavingInValidation(Toy):
    """As a callback that saves where an exception ends a run."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        if not self.trainer.training and rng.batch_idx == 1:
            self.trainer.save_checkpoint(self.folder / f"step={self.trainer.global_step}.ckpt")
        return super().loss(batch, rng)


@pytest.mark.parametrize(
    "options", [{}, {"val_check_interval": 3}, {"val_check_interval": 2, "accumulate_grad_batches": 1}], ids=str
)
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_epoch_end", "in validation"])
def test_a_resumed_run_begins_epochs_validates_and_logs_as_the_straight_one(
    hook: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Also where it was saved in the midst of a validation, of three batches here, which it does not repeat."""

    def events(folder: Path, resume: Path | None = None) -> list[tuple[Any, ...]]:
        noted = Events()
        settings = {"max_steps": 5, "num_sanity_val_steps": 0, "logger": noted, **options}
        in_validation = hook == "in validation"
        module = SavingInValidation(folder) if in_validation else Toy()
        run = trainer(folder, **settings, callbacks=[noted.callback, *([] if in_validation else [Save(folder, hook)])])
        run.fit(module, data(num_val_clips=6), ckpt_path=resume, weights_only=True)
        return noted.events

    straight = events(tmp_path / "straight")
    assert any(event[0] == "val" for event in straight)
    files = sorted((tmp_path / "straight").glob("*.ckpt"))
    for file in files:
        step = int(file.stem.split("=")[1])
        resumed = events(tmp_path / file.stem, file)
        left = [k for k, event in enumerate(straight) if event[0] == "train" and event[1] >= step]
        first = left[0] - (straight[left[0] - 1][0] == "epoch") if left else len(straight)
        assert resumed == straight[first:], step
        for later in (tmp_path / file.stem).glob("*.ckpt"):
            if (tmp_path / "straight" / later.name).exists():
                assert differences(state(later), state(tmp_path / "straight" / later.name)) == []
    assert files


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_batches_of_a_step_may_change_from_epoch_to_epoch(tmp_path: Path) -> None:
    def run(name: str, last: int, resume: Path | None = None) -> Toy:
        saving = ModelCheckpoint(tmp_path / name, filename="{step}", save_top_k=-1, every_n_train_steps=1)
        callbacks = [saving, GradientAccumulationScheduler({0: 1, 1: 2})]
        options = {"callbacks": callbacks, "accumulate_grad_batches": 1, "limit_val_batches": 0}
        return fit(tmp_path / name, resume, saving, max_steps=last, **options)

    straight = run("straight", 12)  # the second epoch has steps 5 to 7, the third 8 to 10
    run("once", 7, tmp_path / "straight" / "step=6.ckpt")
    twice = run("twice", 12, tmp_path / "once" / "step=7.ckpt")
    assert twice.seen == [seen for seen in straight.seen if seen[0] >= 7]
    assert torch.equal(twice.network.weight, straight.network.weight)


@pytest.mark.parametrize(("name", "value"), [("batch", -4), ("epoch", "x"), ("step", None)])
def test_a_damaged_position_is_named(name: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=f"{name}.*{value}"):
        Position(**({"step": 1, "epoch": 0, "batch": 1, "total_batches": 1} | {name: value}))


def test_a_position_of_another_step_than_the_checkpoints_is_refused(tmp_path: Path) -> None:
    fit(tmp_path, None, Save(tmp_path, "on_train_start"), max_steps=1)
    content = torch.load(tmp_path / "step=0.ckpt", weights_only=True)
    content[KEY]["step"] = 10**9
    torch.save(content, tmp_path / "changed.ckpt")
    with pytest.raises(CheckpointError, match=str(10**9)):
        fit(tmp_path, tmp_path / "changed.ckpt", max_steps=1)


def test_a_checkpoint_that_lacks_a_parameters_moments_is_refused(tmp_path: Path) -> None:
    fit(tmp_path, None, Save(tmp_path, "on_train_end"), max_steps=1)
    content = check_resumable(tmp_path / "step=1.ckpt")
    del content["optimizer_states"][0]["state"][1]
    torch.save(content, tmp_path / "changed.ckpt")
    with pytest.raises(CheckpointError, match=r"changed\.ckpt"):
        check_resumable(tmp_path / "changed.ckpt")


@pytest.mark.parametrize(
    "change",
    [{"epoch": 1}, {"epoch": 10**9}, {"batch": 10**9}, {"batch": 0}, {"total_batches": 5}, {"more": 1}],
    ids=str,
)
def test_a_position_that_does_not_go_with_its_checkpoint_is_refused(change: dict[str, int]) -> None:
    right = {"step": 1, "epoch": 0, "batch": 2, "total_batches": 2}
    assert stored_position({"epoch": 0, "global_step": 1, KEY: right}) == Position(**right)
    with pytest.raises(CheckpointError, match="expected a position"):
        stored_position({"epoch": 0, "global_step": 1, KEY: right | change})


@pytest.mark.parametrize(
    ("epochs", "epoch", "batch", "goes_together"),
    [
        (1, 1, 0, True),
        (1, 1, 2, True),
        (0, 1, 0, True),  # of a hook at an epoch's end
        (0, 1, 2, False),
        (1, 0, 1, True),  # `max_steps` ended the training within an epoch
        (1, 0, 0, False),
        (0, 2, 0, False),
        (2, 0, 2, False),
    ],
)
def test_epochs_that_ended_go_with_that_of_the_next_batch(
    epochs: int, epoch: int, batch: int, goes_together: bool
) -> None:
    position = Position(step=4, epoch=epoch, batch=batch, total_batches=batch + 5 * epoch)
    checkpoint = {"epoch": epochs, "global_step": 4, KEY: asdict(position)}
    if goes_together:
        assert stored_position(checkpoint) == position
    else:
        with pytest.raises(CheckpointError, match=f"epoch {epochs}"):
            stored_position(checkpoint)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize(
    "hook",
    ["on_train_batch_end", "on_train_epoch_end", "on_validation_end", "on_train_end", "on_fit_end", "teardown"],
)
@pytest.mark.parametrize("options", [{"max_steps": 4}, {"max_steps": 6}, {"max_epochs": 2}], ids=str)
def test_positions_of_all_hooks_are_taken(hook: str, options: dict[str, int], tmp_path: Path) -> None:
    """Within an epoch, at its end, and where a training ends, also of a run that was resumed from there."""
    fit(tmp_path, None, Save(tmp_path, hook), **options)
    files = sorted(tmp_path.glob("step=*.ckpt"))
    assert files
    for file in files:
        assert check_resumable(file)[KEY]["step"] == int(file.stem.split("=")[1])
        fit(tmp_path / "more", file, Save(tmp_path / "more", hook), max_steps=8)
        for later in (tmp_path / "more").glob("step=*.ckpt"):
            check_resumable(later)
