"""What is sharded, and what is refused; ``test_processes.py`` trains with it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy, Strategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from consistency_tta.contracts import Learner, Optimization
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.shared_copies import share_copies
from consistency_tta.training import ConsistencyDistillation, FullySharded, LoRA, sharding
from consistency_tta.training.frozen_networks import KINDS, RoundedNetworks, to_round, to_shard
from consistency_tta.training.fully_sharded import check_strategy
from consistency_tta.training.optimizer import build_optimizer
from consistency_tta.training.sharding import ShardedNetworks, backbones, size, units
from consistency_tta.training.shards import average_whole, is_sharded, local, shard_like, total_norm, whole
from tests.training.runs import autoencoder, distil, distillation

NO_MESH: Any = None


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """A group of this process alone; ``test_processes.py`` has two."""
    if torch.distributed.is_initialized():  # Lightning leaves the group of an earlier test
        torch.distributed.destroy_process_group()
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def addresses(module: nn.Module) -> list[int]:
    return [parameter.data_ptr() for parameter in module.parameters()]


def test_a_training_to_be_sharded_copies_no_weights_and_has_the_same(teacher_folder: Path, mesh: DeviceMesh) -> None:
    torch.manual_seed(1)
    whole_one = distillation(teacher_folder)
    torch.manual_seed(1)
    with share_copies():
        module = distillation(teacher_folder)
    copies = [module.student.network, module.average.module.network, module.target.module.network]
    # Widened layers are the student's own.
    assert len(set(addresses(module.frozen.teacher)).intersection(*map(addresses, copies))) > 20
    file = {weight.data_ptr(): weight.detach() for weight in module.frozen.teacher.denoiser.parameters()}
    others = [network for kind in KINDS for network in to_shard(module, kind)]
    sharding = ShardedNetworks(module, mesh, True, others)
    assert all(is_sharded(network) for network in copies)
    # What lies around the blocks is whole in the teacher alone.
    around = [network.conv_in.weight for network in (module.student.network, module.frozen.teacher.denoiser.network)]
    assert [isinstance(weight, DTensor) for weight in around] == [True, False]
    assert all(isinstance(weight, DTensor) for network in others for weight in network.parameters())
    module.sharded = sharding
    for held in (module.student, module.frozen.text, module.frozen.codec):
        gathered = module.whole(held)
        assert is_sharded(held)
        assert not is_sharded(gathered)
        for parameter, sharded in zip(gathered.parameters(), held.parameters(), strict=True):
            assert torch.equal(parameter, whole(sharded))
    assert len({id(layer.weight) for layer in embeddings(module.whole(module.frozen.text))}) == 1  # under two names
    # A single weight of the teacher's file would keep all of it in memory.
    assert not file.keys() & set(addresses(module.frozen.teacher.denoiser))
    held = [(whole_one.frozen[name], module.frozen[name]) for name in ("teacher", "text", "codec")]
    for one, other in [(whole_one, module), *held]:
        theirs = dict(other.named_parameters())
        for name, parameter in one.named_parameters():
            assert torch.equal(parameter, whole(theirs[name])), name
            assert parameter.requires_grad == theirs[name].requires_grad


@torch.no_grad()
def test_what_is_in_bfloat16_is_sharded_so_and_gathered_from_its_original(
    teacher_folder: Path, mesh: DeviceMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "SMALLEST_UNIT", 0.2)  # fewer parts, each of which takes time to gather
    module = distillation(teacher_folder)
    text = module.frozen.text
    original = {name: value.clone() for name, value in text.named_parameters()}
    with torch.autocast("cpu", torch.bfloat16):
        before = text(["a dog"]).embedding
    module.rounded = RoundedNetworks(to_round(module, "text_encoder"))
    module.sharded = ShardedNetworks(module, mesh, True, to_shard(module, "text_encoder"))
    assert {local(parameter).dtype for parameter in text.parameters()} == {torch.float32, torch.bfloat16}
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(text(["a dog"]).embedding, before)
    assert all(torch.equal(value, original[name]) for name, value in module.whole(text).named_parameters())


def embeddings(text: nn.Module) -> list[nn.Module]:
    encoder = text.encoder
    return [encoder.shared, encoder.encoder.embed_tokens]


def test_a_training_that_is_not_sharded_after_all_gets_its_own_weights(teacher_folder: Path) -> None:
    with share_copies():
        module = distillation(teacher_folder)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.configure_model()
    everything = [*addresses(module), *addresses(module.frozen.teacher)]
    assert len(set(everything)) == len(everything)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_all_backbones_are_found_once(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    learning = list(backbones(module))
    assert learning == [module.student, module.average.module, module.target.module]
    assert set(backbones(module, frozen=True)) == {module.frozen.teacher.denoiser, *learning}


def test_units_hold_every_parameter_and_outer_ones_come_first(teacher_folder: Path) -> None:
    network = distillation(teacher_folder).student.network
    found = units(network)
    assert found[0] is network
    assert len(found) == len(set(found)) > 4
    for number, unit in enumerate(found):
        assert size(unit) >= 0.01 * size(network)
        assert not any(outer in unit.modules() for outer in found[:number])


def test_trainings_without_backbones_and_lora_are_refused(teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="AutoencoderTraining"):
        ShardedNetworks(autoencoder(tmp_path), NO_MESH, shard_frozen=True)
    adapted = distil(ConsistencyDistillation, teacher_folder, lora=LoRA(rank=2))
    with pytest.raises(ConfigurationError, match="LoRA"):
        ShardedNetworks(adapted, NO_MESH, shard_frozen=True)


@pytest.mark.parametrize(
    "strategy",
    # DeepSpeed's constructor wants its package, which is not installed.
    [FSDPStrategy(), ModelParallelStrategy(), DeepSpeedStrategy.__new__(DeepSpeedStrategy)],
    ids=lambda strategy: type(strategy).__name__,
)
def test_other_strategies_that_shard_are_refused(strategy: Strategy) -> None:
    with pytest.raises(ConfigurationError, match=type(strategy).__name__):
        check_strategy(strategy)


def test_float16_is_refused_where_networks_are_sharded() -> None:
    strategy = FullySharded()
    check_strategy(strategy)
    strategy.precision_plugin = MixedPrecision("16-mixed", "cpu")
    with pytest.raises(ConfigurationError, match="16-mixed"):
        check_strategy(strategy)
    check_strategy(DDPStrategy())


def test_whole_tensors_pass_unchanged() -> None:
    tensor = torch.randn(3, 4)
    assert local(tensor) is whole(tensor) is shard_like(tensor, torch.zeros(3, 4)) is tensor
    assert not is_sharded(nn.Linear(2, 2))
    parts = [torch.randn(5), torch.randn(2, 3), torch.tensor(2.0)]
    torch.testing.assert_close(total_norm(parts), torch.cat([part.flatten() for part in parts]).norm())
    assert total_norm([torch.full((4,), 200.0).half()]) == 400  # float16 has no 160000


def test_a_tensor_is_sharded_as_another_of_its_shape(mesh: DeviceMesh) -> None:
    like, tensor = distribute_tensor(torch.zeros(4, 2), mesh, [Shard(1)]), torch.randn(4, 2)
    found = shard_like(tensor, like)
    assert found.placements == (Shard(1),)
    assert torch.equal(whole(found), tensor)
    for kept in (found, torch.zeros(2, 4), 3):
        assert shard_like(kept, like) is kept


def test_sharded_and_whole_tensors_have_one_norm(mesh: DeviceMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    part, other = torch.randn(4, 3), torch.randn(5)
    # As if a second process had another part like it.
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(2))
    found = total_norm([other, distribute_tensor(part, mesh, [Shard(0)])])
    torch.testing.assert_close(found, torch.cat([part.flatten(), part.flatten(), other]).norm())


def test_gradients_that_are_not_sharded_are_averaged(mesh: DeviceMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(4))  # a second one has three times
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)  # these gradients
    matrix, vector, idle = (nn.Parameter(torch.zeros(size)) for size in ((2, 3), (4,), (5,)))
    sharded = nn.Parameter(distribute_tensor(torch.zeros(4, 2), mesh, [Shard(0)]))
    for parameter in (matrix, vector, sharded):
        parameter.grad = torch.ones_like(parameter)
    average_whole([idle])
    average_whole([matrix, idle, sharded, vector])
    assert idle.grad is None
    assert torch.equal(matrix.grad, torch.full((2, 3), 2.0))
    assert torch.equal(vector.grad, torch.full((4,), 2.0))
    assert torch.equal(whole(sharded.grad), torch.ones(4, 2))


@pytest.mark.parametrize("first", [True, False])
def test_moments_are_stored_whole_by_the_first_process_and_taken_back_in_parts(
    first: bool, mesh: DeviceMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AdamW's, of a sharded weight and of a whole one; in one process."""

    def stepped() -> torch.optim.AdamW:
        sharded = nn.Parameter(distribute_tensor(torch.ones(4, 2), mesh, [Shard(1)]))
        optimizer = torch.optim.AdamW([sharded, nn.Parameter(torch.ones(3))], lr=0.1, foreach=False)
        step(optimizer, 1.0)
        return optimizer

    def step(optimizer: torch.optim.AdamW, gradient: float) -> None:
        for parameter in parameters(optimizer):
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()

    def parameters(optimizer: torch.optim.AdamW) -> list[nn.Parameter]:
        found: list[nn.Parameter] = optimizer.param_groups[0]["params"]
        return found

    strategy, straight, resumed = FullySharded(), stepped(), stepped()
    step(straight, 3.0)
    monkeypatch.setattr(FullySharded, "is_global_zero", True)
    stored = strategy.optimizer_state(straight)
    for index, shape in enumerate([(4, 2), (3,)]):
        for name in ("exp_avg", "exp_avg_sq"):
            moment = stored["state"][index][name]
            assert not isinstance(moment, DTensor)
            assert torch.equal(moment, whole(straight.state[parameters(straight)[index]][name]))
            assert moment.shape == shape
    monkeypatch.setattr(FullySharded, "is_global_zero", first)
    assert (strategy.optimizer_state(straight)["state"][0] != {}) is first
    strategy.optimizers = [resumed]
    strategy.load_optimizer_state_dict({"optimizer_states": [deepcopy(stored)]})  # as of a file
    assert resumed.state[parameters(resumed)[0]]["exp_avg"].placements == (Shard(1),)
    for one, other in zip(parameters(straight), parameters(resumed), strict=True):
        other.data.copy_(one.data)
    for optimizer in (straight, resumed):
        step(optimizer, -2.0)
    for one, other in zip(parameters(straight), parameters(resumed), strict=True):
        assert torch.equal(whole(one), whole(other))


@pytest.mark.parametrize(("whole_ones", "together"), [((False, False), True), ((True, False), False)])
def test_sharded_weights_are_updated_as_whole_ones_are(whole_ones: Any, together: bool, mesh: DeviceMesh) -> None:
    """Beside a network that is not sharded; in one process."""

    def stepped(sharded: bool) -> tuple[list[nn.Parameter], Any]:
        networks = [nn.Linear(2, 2), nn.Linear(2, 2)]
        for network in networks:
            for parameter in network.parameters():
                nn.init.ones_(parameter)
        if sharded:
            for (name, parameter), kept in zip(list(networks[0].named_parameters()), whole_ones, strict=True):
                part = parameter if kept else nn.Parameter(distribute_tensor(parameter.detach(), mesh, [Shard(0)]))
                setattr(networks[0], name, part)
        learners = {str(number): Learner(network) for number, network in enumerate(networks)}
        optimizer = build_optimizer(learners, Optimization(0.1), None, fused=True)["optimizer"]
        parameters = [parameter for network in networks for parameter in network.parameters()]
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.full_like(parameter, number + 1.0)
        optimizer.step()
        return parameters, optimizer

    (expected, _), (found, optimizer) = stepped(sharded=False), stepped(sharded=True)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(whole(other), one)
    assert not optimizer.defaults["fused"]  # so that steps are skipped without its flag
    assert [group["fused"] for group in optimizer.param_groups] == [False, False]
    assert optimizer.param_groups[0]["foreach"] is together  # lists of both kinds are refused by torch
