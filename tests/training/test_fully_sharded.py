"""The strategy ``fsdp2`` in one process: what it trains, saves and loads; ``test_processes.py`` has two."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from consistency_tta.runtime.shared_copies import share_copies
from consistency_tta.training import FullySharded, sharding
from consistency_tta.training.fully_sharded import shards
from consistency_tta.training.shards import is_sharded
from tests.training.runs import data, diffusion, trainer
from tests.training.test_position import Save


@pytest.fixture(autouse=True)
def _no_group_is_left() -> Iterator[None]:
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Seen(Callback):
    """What the networks are in a step, and whether validations could gather weights for later ones."""

    def __init__(self) -> None:
        self.sharded: dict[str, bool] = {}
        self.inference: list[bool] = []
        self.gathered = True

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        networks = {"trained": pl_module.networks, "average": pl_module.average, "codec": pl_module.frozen.codec}
        self.sharded = {name: is_sharded(network) for name, network in networks.items()}

    def on_validation_batch_start(self, *_: Any) -> None:
        self.inference.append(torch.is_inference_mode_enabled())

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.gathered = not all(isinstance(weight, DTensor) for weight in pl_module.average.parameters())


def content(file: Path) -> dict[str, Tensor]:
    """Weights, averages and moments of a checkpoint, by name."""
    saved = torch.load(file, weights_only=True)
    moments = saved["optimizer_states"][0]["state"]
    return saved["state_dict"] | {f"{index}.{name}": moments[index][name] for index in moments for name in moments[0]}


def test_it_goes_on_from_an_unsharded_run_and_trains_the_same(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "SMALLEST_UNIT", 0.2)  # fewer parts, each of which takes time to gather
    plain, sharded, seen = tmp_path / "plain", tmp_path / "sharded", Seen()

    def run(folder: Path, *more: Callback, checkpoint: Path | None = None, **options: Any) -> Any:
        torch.manual_seed(1)
        module = diffusion(teacher_folder)
        callbacks = [Save(folder, "on_train_batch_end"), *more]
        running = trainer(tmp_path, max_steps=2, callbacks=callbacks, **options)
        running.fit(module, data(), ckpt_path=checkpoint, weights_only=True)
        return running

    first = run(plain)
    with share_copies():
        last = run(
            sharded,
            seen,
            checkpoint=plain / "step=1.ckpt",
            strategy=FullySharded(),
            val_check_interval=2,
            limit_val_batches=1,
        )
    assert seen.sharded == {"trained": True, "average": True, "codec": False}
    assert not seen.gathered  # an update of the average would meet whole weights
    models = [running.lightning_module.pipeline().unet for running in (first, last)]
    assert not is_sharded(models[1])
    for one, other in zip(*(model.state_dict().values() for model in models), strict=True):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-3)
    loops = (last.validate_loop, last.test_loop, last.predict_loop)
    assert seen.inference + [loop.inference_mode for loop in loops] == [False] * 4
    start, expected, found = (
        content(file) for file in (plain / "step=1.ckpt", *(f / "step=2.ckpt" for f in (plain, sharded)))
    )
    assert list(found) == list(expected)
    moved = [name for name, value in expected.items() if not torch.equal(value, start[name])]
    assert len(moved) > 100
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-3)


def test_two_machines_of_four_processes_share_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[Any] = []
    note = lambda strategy: sizes.append((strategy._data_parallel_size, strategy._tensor_parallel_size))  # noqa: E731
    monkeypatch.setattr(ModelParallelStrategy, "setup_environment", note)  # which reads these, and starts the group
    monkeypatch.setattr(FullySharded, "num_processes", 4)
    strategy = FullySharded(process_group_backend="gloo", timeout=timedelta(seconds=7))
    strategy.num_nodes = 2
    strategy.setup_environment()
    assert sizes == [(8, 1)]
    assert (strategy.process_group_backend, strategy._timeout) == ("gloo", timedelta(seconds=7))


@pytest.fixture
def mesh() -> DeviceMesh:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    return init_device_mesh("cpu", (1,))


def test_all_processes_start_from_the_first_ones_weights(mesh: DeviceMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    def broadcast(tensor: Tensor, source: int) -> None:
        assert source == 0
        tensor.fill_(3.0)

    monkeypatch.setattr(torch.distributed, "broadcast", broadcast)
    monkeypatch.setattr(FullySharded, "root_device", torch.device("cpu"))
    module = nn.BatchNorm1d(2)
    module.weight = nn.Parameter(distribute_tensor(torch.zeros(2), mesh, [Shard(0)]))
    FullySharded().broadcast_weights(module)
    assert module.bias.tolist() == module.running_mean.tolist() == [3, 3]  # type: ignore[union-attr]
    assert isinstance(module.weight, DTensor)
    assert module.weight.full_tensor().tolist() == [0, 0]


def test_only_the_first_process_writes(mesh: DeviceMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = FullySharded()
    strategy._lightning_module = nn.Linear(2, 2)  # type: ignore[assignment]
    for first, names in ((True, ["weight", "bias"]), (False, [])):
        monkeypatch.setattr(FullySharded, "is_global_zero", first)
        assert list(strategy.lightning_module_state_dict()) == names
        content = {"state": {0: {"step": 3, "moment": torch.ones(2)}}, "param_groups": [{}]}  # numbers, as of others
        kept = strategy.optimizer_state(SimpleNamespace(state_dict=lambda content=content: content))  # type: ignore[arg-type]
        assert (list(kept["state"][0]), kept["param_groups"]) == (["step", "moment"] if first else [], [{}])


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("fsdp2", True),
        ("FullySharded", True),
        ("consistency_tta.training.FullySharded", True),
        (SimpleNamespace(class_path="consistency_tta.training.FullySharded"), True),
        ("ddp", False),
        (SimpleNamespace(class_path="lightning.pytorch.strategies.DDPStrategy"), False),
        (SimpleNamespace(), False),
        (None, False),
    ],
    ids=str,
)
def test_settings_that_shard_are_known(setting: Any, expected: bool) -> None:
    assert shards(setting) is expected


def test_it_is_one_of_lightnings() -> None:
    assert isinstance(FullySharded(), ModelParallelStrategy)
    assert trainer(Path(), strategy="fsdp2").strategy.shard_frozen  # type: ignore[attr-defined]
    assert not FullySharded(shard_frozen=False).shard_frozen
