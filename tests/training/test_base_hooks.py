"""What every training does in Lightning's hooks, on one linear layer."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn

from consistency_tta.contracts import Batch, Learner, Optimization
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import base
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.checkpoint_file import AtomicCheckpointIO
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.step_rng import VALIDATION_SEED, StepRNG
from tests.training.test_position import Toy, data, trainer

M = TypeVar("M", bound=TrainingModule)
CPU = torch.device("cpu")


class Plain(Toy):
    """With a loss that returns what it is given."""

    value: Any = None

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value if isinstance(self.value, Tensor) else self.network.weight.sum()


class WithCritic(Plain):
    """Whose critic the steps with an odd number do not update."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Linear(2, 2)
        nn.init.zeros_(self.critic.bias)

    def learners(self) -> dict[str, Learner]:
        return {"student": Learner(self.network), "critic": Learner(self.critic)}

    def active(self, step: int) -> set[str]:
        return {"student"} if step % 2 else {"student", "critic"}


def placed(module: M, **state: Any) -> M:
    """The module in a training of one process, at its start."""
    settings = {"training": True, "testing": False, "world_size": 1, "global_rank": 0, "current_epoch": 0}
    settings |= {"global_step": 0, "accumulate_grad_batches": 1, "optimizers": []}
    module._trainer = SimpleNamespace(**(settings | state))  # type: ignore[assignment]
    return module


def clips(rows: int = 2) -> Batch:
    return Batch(["a"] * rows, ["a"] * rows, torch.randn(rows, 8))


def gradients(module: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in module.parameters()]


@pytest.mark.parametrize(("given", "environment", "expected"), [(7, "3", 7), (None, "3", 3), (None, None, 0)])
def test_the_seed_is_given_or_that_of_seed_everything(
    given: int | None, environment: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seeded(Toy):
        def __init__(self) -> None:
            TrainingModule.__init__(self, Optimization(), given)

    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    if environment is not None:
        monkeypatch.setenv("PL_GLOBAL_SEED", environment)
    assert Seeded().seed == expected


def test_settings_of_another_class_are_refused() -> None:
    class Unoptimized(Toy):
        def __init__(self) -> None:
            TrainingModule.__init__(self, Optimization, 0)  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match=r"optimization.*the class Optimization"):
        Unoptimized()


def test_loggers_get_no_hyperparameters_beside_the_configuration(tmp_path: Path) -> None:
    class Named(Toy):
        def __init__(self, name: str) -> None:
            super().__init__()

    logger = CSVLogger(tmp_path)
    trainer(tmp_path, max_steps=1, limit_val_batches=0, logger=logger).fit(module := Named("a name"), data())
    assert module.hparams["name"] == "a name"
    assert not logger.experiment.hparams


def test_recordings_are_what_previews_are_compared_with() -> None:
    sounds = clips()
    assert Toy().references(sounds) == {"recording": sounds.waveform}
    assert Toy().references(replace(sounds, waveform=None)) == {}


def test_draws_are_of_the_place_in_training_and_always_the_same_outside() -> None:
    place: dict[str, Any] = {"current_epoch": 5, "global_rank": 1, "world_size": 4}
    assert placed(Toy(), **place).rng(3) == StepRNG(1, 5, 3, CPU, 1, 4)
    assert placed(Toy(), training=False, **place).rng(3) == StepRNG(VALIDATION_SEED, 0, 3, CPU, 1, 4)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"precision": "bf16-true"}, "bf16-true"),
        ({"gradient_clip_val": -1.0}, "gradient_clip_val"),
        ({"strategy": ModelParallelStrategy}, "ModelParallelStrategy"),
    ],
    ids=["precision", "clipping", "strategy"],
)
def test_a_trainer_that_cannot_train_is_refused(options: dict[str, Any], named: str, tmp_path: Path) -> None:
    module = Toy()
    made = {name: value() if callable(value) else value for name, value in options.items()}
    module.trainer = trainer(tmp_path, **made)
    with pytest.raises(ConfigurationError, match=named):
        module.setup("fit")


def test_checkpoints_are_written_whole_unless_a_plugin_writes_them(tmp_path: Path) -> None:
    class Mine(TorchCheckpointIO):
        pass

    for plugins, expected in (([], AtomicCheckpointIO), ([Mine()], Mine)):
        module = Toy()
        module.trainer = run = trainer(tmp_path, plugins=plugins)
        module.setup("fit")
        assert type(run.strategy.checkpoint_io) is expected


def test_data_of_another_sample_rate_are_refused(tmp_path: Path) -> None:
    module = Toy()
    module.trainer = run = trainer(tmp_path)
    for known in (None, SimpleNamespace(), SimpleNamespace(sample_rate=16000)):
        run.datamodule = known  # type: ignore[attr-defined]
        module.setup("fit")
    run.datamodule = SimpleNamespace(sample_rate=48000)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"16000 Hz.*48000"):
        module.setup("fit")


def test_networks_are_fitted_to_the_machine_before_they_train(tmp_path: Path) -> None:
    module = Toy()
    module.trainer = trainer(tmp_path, precision="bf16-mixed")
    with (
        mock.patch("consistency_tta.training.placed_networks.faster_in_blocks", return_value=True),
        mock.patch("consistency_tta.training.placed_networks.attend_in_blocks") as fitted,
    ):
        module.setup("fit")
    fitted.assert_called_once_with(module)


GLOBAL: dict[str, Callable[[], float]] = {
    "torch": lambda: float(torch.rand(())),
    "random": random.random,
    "numpy": np.random.random,  # the global one
}


@pytest.mark.parametrize("name", GLOBAL)
def test_global_draws_are_of_the_batch_and_the_process(name: str) -> None:
    module, sounds = Toy(), clips()

    def drawn(batch: int, **state: Any) -> float:
        placed(module, **state).on_train_batch_start(sounds, batch)
        return GLOBAL[name]()

    first = [drawn(batch) for batch in range(80)]
    assert first == [drawn(batch) for batch in range(80)]
    assert len(set(first)) == 80  # more than 2 x 32, less would not show a seed that is cut too short
    assert drawn(0, global_rank=1) not in first
    assert drawn(0, current_epoch=1) not in first


def test_gradients_are_freed_at_the_first_batch_of_a_step() -> None:
    weight = nn.Parameter(torch.ones(2))
    module = placed(Toy(), accumulate_grad_batches=3, optimizers=[torch.optim.SGD([weight])])
    freed = []
    for batch in range(7):
        weight.grad = torch.ones(2)
        module.on_train_batch_start(clips(), batch)
        freed.append(weight.grad is None)
    assert freed == [True, False, False, True, False, False, True]


def test_only_batches_of_this_projects_datamodules_are_taken() -> None:
    with pytest.raises(ConfigurationError, match="Batch"):
        placed(Plain()).training_step((torch.ones(2, 8), ["a", "b"]), 0)  # type: ignore[arg-type]


def test_a_loss_that_reads_an_iterator_to_its_end_is_an_error() -> None:
    module = placed(Plain())
    module.value = StopIteration()
    with pytest.raises(ConfigurationError, match="StopIteration"):
        module.training_step(clips(), 0)


def test_a_loss_without_a_gradient_is_an_error() -> None:
    module = placed(Plain())
    module.value = torch.ones(())
    with pytest.raises(ConfigurationError, match="gradient"):
        module.training_step(clips(), 0)


@pytest.mark.parametrize("value", [2.0, float("inf"), float("nan")])
def test_a_loss_that_is_not_finite_makes_all_gradients_nan(value: float) -> None:
    module = placed(Plain())
    module.value = module.network.weight.mean() + value
    loss = module.training_step(clips(), 0)
    loss.backward()
    if value == 2.0:
        assert torch.equal(loss, module.value)
        torch.testing.assert_close(module.network.weight.grad, torch.full((8, 8), 1 / 64))
    else:
        assert module.network.weight.grad is not None
        assert module.network.weight.grad.isnan().all()


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(("processes", "sharded", "waits"), [(1, None, False), (2, None, True), (2, object(), False)])
def test_ddp_gets_a_gradient_of_every_network_beside_the_student(
    processes: int, sharded: Any, waits: bool, step: int
) -> None:
    """It waits for one; the values are those of the loss itself."""
    module = placed(WithCritic(), world_size=processes, global_step=step)
    module.sharded = sharded
    module.training_step(clips(), 0).backward()
    assert torch.equal(module.network.weight.grad, torch.ones(8, 8))  # type: ignore[arg-type]
    assert module.network.bias.grad is None  # as DistributedDataParallel is told of none that the loss does not reach
    critic = gradients(module.critic)
    assert [gradient is not None for gradient in critic] == [waits, waits]
    assert not any(gradient.any() for gradient in critic if gradient is not None)
    assert module.training_step(clips(), 0) == module.network.weight.sum()


@pytest.mark.parametrize("step", [0, 1])
def test_gradients_of_idle_networks_are_dropped(step: int) -> None:
    module = placed(WithCritic(), global_step=step)
    sum(parameter.sum() for parameter in module.parameters()).backward()  # type: ignore[union-attr]
    module.on_after_backward()
    assert all(gradient is not None for gradient in gradients(module.network))
    assert [gradient is None for gradient in gradients(module.critic)] == [step == 1] * 2


def test_gradients_of_sharded_trainings_are_averaged_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(4))  # a second one has three times
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)  # these gradients
    for sharded, average in ((object(), 2.0), (None, 1.0)):
        module = placed(WithCritic())
        module.sharded = sharded  # type: ignore[assignment]
        sum(parameter.sum() for parameter in module.parameters()).backward()  # type: ignore[union-attr]
        module.on_after_backward()
        for gradient in gradients(module):
            assert gradient is not None
            assert (gradient == average).all()


@pytest.mark.parametrize(
    ("limit", "algorithm", "expected"),
    [(None, None, 3.0), (0.0, "norm", 3.0), (1.2, None, 0.6), (1.2, "norm", 0.6), (1.2, "value", 1.2)],
)
def test_gradients_are_clipped_as_the_trainer_says(limit: float, algorithm: str, expected: float) -> None:
    weight = nn.Parameter(torch.ones(4))
    weight.grad = torch.full((4,), 3.0)
    Toy().configure_gradient_clipping(torch.optim.SGD([weight]), limit, algorithm)
    torch.testing.assert_close(weight.grad, torch.full((4,), expected))


@pytest.mark.parametrize(
    ("state", "stage"),
    [({}, "train"), ({"training": False}, "val"), ({"training": False, "testing": True}, "test")],
)
def test_losses_are_logged_as_means_over_clips_and_processes(state: dict[str, bool], stage: str) -> None:
    module, logged = placed(Toy(), **state), {}

    def note(name: str, value: Tensor, **options: Any) -> None:
        logged[name] = (value, options.pop("prog_bar", False), options)

    module.log = note  # type: ignore[assignment,method-assign]
    one, two = torch.tensor(1.0), torch.tensor(2.0)
    module.log_losses({"loss": one, "loss/mel": two}, 3)
    options = {"sync_dist": True, "batch_size": 3}
    assert logged == {f"{stage}/loss": (one, True, options), f"{stage}/loss/mel": (two, False, options)}


def test_validation_and_test_compute_the_loss_of_their_draws() -> None:
    module, seen, sounds = placed(Plain(), training=False), [], clips()
    module.loss = lambda *arguments: seen.append(arguments)  # type: ignore[assignment,method-assign,func-returns-value]
    module.validation_step(sounds, 4)
    module.test_step(sounds, 5)
    assert seen == [(sounds, module.rng(4)), (sounds, module.rng(5))]


class Averaged(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.averages = [ExponentialMovingAverage(self.network, decay) for decay in (0.0, 0.5)]

    def emas(self) -> list[ExponentialMovingAverage]:
        return self.averages


@pytest.mark.parametrize(
    ("gradient", "skipped", "moves"), [(1.0, None, True), (1.0, 0.0, True), (1.0, 1.0, False), (None, None, False)]
)
def test_averages_follow_each_step_that_is_taken(gradient: float, skipped: float, moves: bool) -> None:
    module = Averaged()
    optimizer: Any = torch.optim.SGD(module.network.parameters(), lr=1.0)
    if skipped is not None:
        optimizer.skipped_step = torch.tensor(skipped)
    placed(module, optimizers=[optimizer])
    before = module.network.weight.detach().clone()

    def closure() -> None:
        if gradient is not None:
            for parameter in module.network.parameters():
                parameter.grad = torch.full_like(parameter, gradient)

    module.optimizer_step(0, 0, optimizer=optimizer, optimizer_closure=closure)
    assert torch.equal(module.network.weight, before - (0 if gradient is None else 1))
    for average, share in zip(module.averages, (1.0, 0.5), strict=True):
        expected = before - share if moves else before
        torch.testing.assert_close(average.module.weight, expected)
        assert average.updates == moves


@pytest.mark.parametrize("steps", [float("inf"), 10])
def test_a_run_without_an_end_has_a_schedule_without_one(steps: float) -> None:
    module: Any = placed(Toy(), estimated_stepping_batches=steps, precision="32-true")
    with mock.patch.object(base, "build_optimizer", wraps=base.build_optimizer) as built:
        made = module.configure_optimizers()
    assert built.call_args.args[2] == (None if steps == float("inf") else 10)
    [rate] = made["lr_scheduler"]["scheduler"].get_last_lr()
    assert rate == 0.0  # in its warm-up
