"""The strategy that shards networks over processes, FSDP2: ``--trainer.strategy fsdp2``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from lightning.fabric.plugins.collectives.torch_collective import default_pg_timeout
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    Strategy,
    StrategyRegistry,
)
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.checkpoint_file import read_checkpoint
from consistency_tta.training.shards import shard_like, whole


class FullySharded(ModelParallelStrategy):
    """Shards weights, gradients, optimizer state and averages over all processes.

    The losses are those of ``ddp``, up to rounding. A checkpoint is one file with whole tensors, as of any other
    strategy: a run may go on with another number of processes, or under ``ddp``, and ``export`` reads it.

    Args:
        shard_frozen: whether the frozen teacher is sharded, too. Whole, it takes its full memory in each process, and
            is never gathered.
        shard_text_encoder: whether the frozen text encoder is sharded, too.
        shard_codec: whether the frozen codec of mel spectrograms, its vocoder included, is sharded, too.
        process_group_backend: such as ``nccl``; the device's own if not given.
        timeout: how long a process waits for another.
    """

    def __init__(
        self,
        shard_frozen: bool = True,
        shard_text_encoder: bool = False,
        shard_codec: bool = False,
        process_group_backend: str | None = None,
        timeout: timedelta = default_pg_timeout,
    ) -> None:
        super().__init__(
            save_distributed_checkpoint=False, process_group_backend=process_group_backend, timeout=timeout
        )
        self.shard_frozen = shard_frozen
        self.shard_text_encoder = shard_text_encoder
        self.shard_codec = shard_codec

    def shards_kind(self, kind: str) -> bool:
        """Whether frozen networks of a kind, text_encoder or codec, are sharded."""
        return bool(getattr(self, f"shard_{kind}"))

    @property
    def mesh(self) -> DeviceMesh:
        """Of all processes."""
        return self.device_mesh["data_parallel"]

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning restores the optimizer, by :meth:`load_optimizer_state_dict`."""
        return True

    def setup_environment(self) -> None:
        """All processes share the data, and none share a layer."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def broadcast_weights(self, module: nn.Module) -> None:
        """Start every process from the first one's weights, as DistributedDataParallel does; sharded ones are its."""
        for tensor in (*module.parameters(), *module.buffers()):
            if isinstance(tensor, DTensor):
                continue
            sent = tensor.detach().to(self.root_device)
            torch.distributed.broadcast(sent, 0)
            tensor.data.copy_(sent)

    def setup(self, trainer: Trainer) -> None:
        """Validate without inference mode, in which no weights can be gathered for later training steps."""
        loops = (trainer.validate_loop, trainer.test_loop, trainer.predict_loop, trainer.fit_loop.epoch_loop.val_loop)
        for loop in loops:
            loop.inference_mode = False
        super().setup(trainer)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors on the first process's CPU; nothing on the others."""
        assert self.lightning_module is not None
        return self._gather(self.lightning_module.state_dict())

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this process's parts of whole tensors."""
        assert self.lightning_module is not None
        own = self.lightning_module.state_dict()
        state = {name: shard_like(value, own.get(name)) for name, value in checkpoint["state_dict"].items()}
        self.lightning_module.load_state_dict(state, strict=strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """As :meth:`lightning_module_state_dict`."""
        content = getattr(optimizer, "_optimizer", optimizer).state_dict()
        state = {index: self._gather(values) for index, values in content["state"].items()}
        return content | {"state": state}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's parts of whole tensors."""
        for optimizer, content in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            state = {
                index: {name: shard_like(value, parameters[index]) for name, value in values.items()}
                for index, values in content["state"].items()
            }
            optimizer.load_state_dict(content | {"state": state})

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Map the file into memory: the processes of a machine share it, and each reads its parts alone."""
        return read_checkpoint(checkpoint_path, mmap=True)

    def _gather(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """One tensor after the other, so that no more than one is whole on the device."""
        gathered = {}
        for name, value in state.items():
            entire = whole(value)
            if self.is_global_zero:
                gathered[name] = entire.cpu() if isinstance(entire, torch.Tensor) else entire
        return gathered


StrategyRegistry.register("fsdp2", FullySharded, description="Shards networks over processes with torch's FSDP2")


def shards(setting: Any) -> bool:
    """Whether the setting ``strategy`` of a trainer, a name or a class with its options, is this one."""
    name = setting if isinstance(setting, str) else getattr(setting, "class_path", "")
    return name == "fsdp2" or name.rpartition(".")[2] == FullySharded.__name__


def check_strategy(strategy: Strategy) -> None:
    """Raise for strategies of Lightning's that would not shard, or not train, this project's modules.

    Raises:
        ConfigurationError: names the strategy, the reason and what to set instead.
    """
    if isinstance(strategy, FullySharded) and strategy.precision_plugin.precision == "16-mixed":
        raise ConfigurationError(
            "the strategy fsdp2 does not scale gradients, which 16-mixed needs: set --trainer.precision bf16-mixed"
        )
    reasons = {
        FSDPStrategy: "FSDP1 does not stand several queries of a network before a backward pass",
        ModelParallelStrategy: "it leaves the sharding to the module",
        DeepSpeedStrategy: "its engine keeps gradients to itself, which networks that take turns, averages and the "
        "check for NaN read",
    }
    for kind, reason in reasons.items():
        if isinstance(strategy, kind) and not isinstance(strategy, FullySharded):
            raise ConfigurationError(
                f"expected the strategy ddp or fsdp2, got {type(strategy).__name__}: {reason}; set --trainer.strategy "
                "fsdp2"
            )
