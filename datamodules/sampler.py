"""The order of training: a pure function of (seed, epoch), cut into one shard per process, entered at any batch."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from consistency_tta.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ResumableSampler(DistributedSampler):
    """Gives (epoch, index) pairs, so that a dataset's randomness can depend on them and on nothing else.

    The process of rank r takes positions r, r + W, r + 2 W ... of the epoch's permutation, for W processes. Step j of W
    processes with batches of B therefore sees, as a set, what step j of one process with batches of W B sees.

    It is a ``DistributedSampler`` because Lightning leaves those alone, and tells them the epoch by ``set_epoch``.

    Args:
        dataset: of known length, at least ``world_size * batch_size``.
        batch_size: B, per process.
        seed: of the order; the same in all processes.
        rank: r, of this process.
        world_size: W.
        first_batch: asked whenever an iteration begins: how many batches of the epoch have been seen already.

    Raises:
        DataError: when the dataset is smaller than one step of all processes.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        first_batch: Callable[[], int] = int,
    ) -> None:
        examples = len(dataset)  # type: ignore[arg-type]
        if examples < batch_size * world_size:
            raise DataError(
                f"the training set has {examples} usable examples, but one step takes {batch_size * world_size} "
                f"(batch_size {batch_size} x {world_size} processes): lower batch_size or add data"
            )
        # Dropping the last examples, not repeating the first, keeps the steps of any number of processes the same.
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=True, seed=seed, drop_last=True)
        self.batch_size = batch_size
        self.first_batch = first_batch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # The order of DistributedSampler as an array: lists, and tensors of one number each, take much more memory.
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.dataset), generator=generator)  # type: ignore[arg-type]
        own = order[self.rank : self.total_size : self.num_replicas].numpy()
        for index in own[self.first_batch() * self.batch_size :]:
            yield self.epoch, int(index)


class ResumableLoader(DataLoader):
    """A ``DataLoader`` that asks its sampler nothing before its first batch is wanted.

    Lightning makes the iterator before it knows the epoch that a checkpoint leaves it in, and the workers of a plain
    loader would fetch ahead in the wrong one. Its state is what must not change on the way: how many examples one step
    takes, and of how many. Where the order is taken up again, the sampler's ``first_batch`` says.

    Args:
        world_size: number of processes that train together.
        *args, **kwargs: as for ``DataLoader``.
    """

    def __init__(self, *args: Any, world_size: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.world_size = world_size

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()

    def state_dict(self) -> dict[str, int]:
        """What the checkpoint keeps (Lightning's protocol of resumable dataloaders)."""
        examples = len(self.dataset)  # type: ignore[arg-type]
        return {"examples_per_step": (self.batch_size or 1) * self.world_size, "examples": examples}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Warn when the rest of an interrupted epoch cannot be the one it would have been."""
        names = {"examples_per_step": "examples a step (batch_size x processes)", "examples": "usable examples"}
        for name, came in self.state_dict().items():
            if state.get(name, came) != came:  # earlier versions kept the first alone
                warnings.warn(
                    f"the checkpoint's run had {state[name]} {names[name]}, this one has {came}: if an epoch was "
                    "interrupted, some examples are seen twice or not at all",
                    stacklevel=2,
                )
