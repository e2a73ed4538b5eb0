"""Random numbers that depend on nothing but the seed and the position in training.

The draws of a training batch are a function of (seed, epoch, batch index). A run that was stopped and resumed therefore
continues bit for bit, with no generator state in checkpoints. All ranks draw for the global batch and keep their own
rows, laid out as ``DistributedSampler`` lays out the data; W processes with batch B therefore train on the very noise
that one process with batch W B would.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from consistency_tta.runtime.device import to_device

#: Seed of every validation, so that its draws differ from those of training and its curves can be compared.
VALIDATION_SEED = 2**31 - 1


@dataclass(frozen=True)
class StepRNG:
    """Draws for one batch; every rank must make the same calls in the same order.

    Attributes:
        seed: of the run.
        epoch, batch_idx: position in training.
        device: where normal numbers are drawn and returned.
        rank, world_size: of this process.
    """

    seed: int
    epoch: int
    batch_idx: int
    device: torch.device
    rank: int = 0
    world_size: int = 1

    @cached_property
    def entropy(self) -> int:
        """A 63-bit hash of (seed, epoch, batch index)."""
        return int(np.random.SeedSequence((self.seed, self.epoch, self.batch_idx)).generate_state(1, np.uint64)[0] >> 1)

    @cached_property
    def cpu(self) -> torch.Generator:
        """Generator on the CPU: what decides which rows are computed must not wait for the device."""
        return torch.Generator().manual_seed(self.entropy)

    @cached_property
    def device_generator(self) -> torch.Generator:
        """Generator on the device, for large draws."""
        return torch.Generator(self.device).manual_seed(self.entropy ^ 1)

    def to_device(self, drawn: Tensor) -> Tensor:
        """A small tensor from the CPU to the device, without waiting for what the device is doing."""
        return to_device(drawn, self.device)

    def normal_like(self, example: Tensor) -> Tensor:
        """Unit normal numbers on the device, one row per row of ``example`` (B, ...)."""
        shape = (example.shape[0] * self.world_size, *example.shape[1:])
        drawn = torch.randn(shape, generator=self.device_generator, device=self.device)
        return drawn[self.rank :: self.world_size]

    def uniform(self, batch_size: int) -> Tensor:
        """(B,) in [0, 1), on the CPU."""
        return torch.rand(batch_size * self.world_size, generator=self.cpu)[self.rank :: self.world_size]

    def integers(self, high: int, batch_size: int) -> Tensor:
        """(B,) int64 in [0, high), on the CPU."""
        drawn = torch.randint(high, (batch_size * self.world_size,), generator=self.cpu)
        return drawn[self.rank :: self.world_size]
