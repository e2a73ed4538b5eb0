"""Networks are fitted to the machine, sharded, and given their own memory, in that order."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import nn

from consistency_tta.components.text import ByteTextEncoder
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.runtime.shared_copies import copy_module, share_copies
from consistency_tta.training import FullySharded, placed_networks
from tests.toys import TEXT
from tests.training.test_position import Toy


class WithTeacher(Toy):
    """Trains a copy of a frozen network."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = Frozen(teacher=nn.Linear(8, 8))
        self.network = copy_module(self.frozen.teacher, {}).requires_grad_(True)

    def shares(self) -> bool:
        return self.network.weight.data_ptr() == self.frozen.teacher.weight.data_ptr()


@pytest.mark.parametrize(
    ("device", "precision", "fitted"),
    [("cpu", "bf16-mixed", True), ("cpu", "32-true", False), ("meta", "bf16-mixed", False)],
)
@pytest.mark.parametrize(("faster", "wrong"), [(True, False), (False, True)])
def test_bfloat16_on_a_cpu_computes_in_another_way_in_all_networks(
    faster: bool, wrong: bool, device: str, precision: str, fitted: bool
) -> None:
    module = WithTeacher()
    strategy = SimpleNamespace(root_device=torch.device(device))
    module._trainer = SimpleNamespace(precision=precision, strategy=strategy)  # type: ignore[assignment]
    changed: dict[str, list[nn.Module]] = {"attend_in_blocks": [], "compute_narrow_in_float32": []}
    with ExitStack() as stack:
        for name, value in (("faster_in_blocks", faster), ("wrong_in_bfloat16", wrong)):
            stack.enter_context(mock.patch.object(placed_networks, name, return_value=value))
        for name, networks in changed.items():
            stack.enter_context(mock.patch.object(placed_networks, name, networks.append))
        placed_networks.PlacedNetworks.setup(module, "fit")
    expected = [module, module.frozen.teacher] if fitted else []
    assert changed == {
        "attend_in_blocks": expected if faster else [],
        "compute_narrow_in_float32": expected if wrong else [],
    }


@pytest.mark.parametrize("strategy", [None, SingleDeviceStrategy("cpu")], ids=["no trainer", "one device"])
def test_copies_get_memory_of_their_own_where_nothing_is_sharded(strategy: Any) -> None:
    with share_copies():
        module = WithTeacher()
    assert module.shares()
    if strategy is not None:
        module._trainer = SimpleNamespace(strategy=strategy)  # type: ignore[assignment]
    module.configure_model()
    assert not module.shares()
    assert module.sharded is None
    assert module.rounded is None
    assert torch.equal(module.network.weight, module.frozen.teacher.weight)
    assert module.whole(module.network) is module.network
    weight = module.network.weight.data_ptr()
    module.configure_model()
    assert module.network.weight.data_ptr() == weight  # once


def test_the_first_processes_weights_are_taken_once_by_networks_that_share_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Any] = []

    class Strategy(FullySharded):
        mesh: Any = "the mesh"

        def broadcast_weights(self, module: Any) -> None:
            calls.append(("shares", module.shares()))

    def shard(owner: nn.Module, mesh: Any, shard_frozen: bool, others: Any) -> str:
        calls.append((owner, mesh, shard_frozen, others, module.shares()))
        return "sharded networks"

    monkeypatch.setattr(placed_networks, "ShardedNetworks", shard)
    with share_copies():
        module = WithTeacher()
    text = module.frozen.held["text"] = ByteTextEncoder(**TEXT)
    strategy = Strategy(shard_frozen=False, shard_text_encoder=True)
    module._trainer = SimpleNamespace(strategy=strategy)  # type: ignore[assignment]
    for _ in range(2):  # as Lightning does where a validation follows the training
        module.configure_model()
    assert calls == [(module, "the mesh", False, [text.encoder], True), ("shares", False)]
    assert module.sharded == "sharded networks"


def test_what_is_chosen_is_rounded_once_and_copies_have_the_original_weights_on_the_device() -> None:
    module = WithTeacher()
    text = module.frozen.held["text"] = ByteTextEncoder(**TEXT)
    weights = {name: weight.clone() for name, weight in text.named_parameters()}
    module.kinds_in_bfloat16 = frozenset({"text_encoder"})
    for _ in range(2):
        module.configure_model()
    assert torch.bfloat16 in {weight.dtype for weight in text.parameters()}
    parts = module.whole_parts({"text_encoder": text, "unet": module.network, "rate": 16000})
    assert all(torch.equal(weight, weights[name]) for name, weight in parts["text_encoder"].named_parameters())
    assert (parts["unet"], parts["rate"]) == (module.network, 16000)
    module.to("meta")
    assert all(weight.is_meta for weight in module.whole(text).parameters())
