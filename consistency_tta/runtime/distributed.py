"""The rank of a process among several that divide work without communication."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from consistency_tta.runtime.errors import ConfigurationError

T = TypeVar("T")
#: What launchers call the process's number, how many there are, and its number on its machine: torchrun, SLURM.
LAUNCHERS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))


@dataclass(frozen=True)
class ProcessRank:
    """One of several processes.

    Attributes:
        rank: its number, from 0.
        world_size: how many there are.
        local_rank: its number among those of its machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def of_launcher(cls) -> ProcessRank:
        """The place that torchrun or SLURM's ``srun`` gave this process; the only one without a launcher.

        Raises:
            ConfigurationError: the launcher's variables are not a rank.
        """
        for rank, world_size, local_rank in LAUNCHERS:
            if rank in os.environ and world_size in os.environ:
                given = {name: os.environ[name] for name in (rank, world_size)}
                given[local_rank] = os.environ.get(local_rank, given[rank])
                if not all(value.isdecimal() for value in given.values()) or int(given[rank]) >= int(given[world_size]):
                    said = ", ".join(f"{name}={value}" for name, value in given.items())
                    raise ConfigurationError(f"expected the launcher's {rank} from 0 to {world_size} - 1, got {said}")
                return cls(*(int(value) for value in given.values()))
        return cls()

    def share(self, work: Sequence[T]) -> Sequence[T]:
        """This process's part, every ``world_size``-th."""
        return work[self.rank :: self.world_size]

    def __str__(self) -> str:
        return f"process {self.rank + 1} of {self.world_size}"
