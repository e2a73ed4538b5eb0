"""In which order a datamodule's clips are encoded, and which of them make a shard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from consistency_tta.contracts import Batch
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.storage.checksum import checksum

#: Settings of a datamodule that change nothing of what it gives.
IRRELEVANT = {"num_workers", "trainer", "prepare_data_per_node", "allow_zero_length_dataloader_with_multiple_devices"}


@dataclass(frozen=True)
class Unit:
    """The clips of one shard.

    Attributes:
        number: of the shard.
        copy: in which epoch of the data.
        first: the first clip's position in the order of that epoch.
        batches: what the dataset is indexed with.
    """

    number: int
    copy: int
    first: int
    batches: Sequence[Sequence[Any]]


class ClipOrder:
    """All clips of a loader, in several epochs, cut into shards.

    The order is a function of the datamodule's settings: a run that goes on, and each of several processes, finds the
    same.

    Args:
        loader: over a dataset with an index. Clips that fill no batch, which training leaves out, are encoded, too.
        copies: epochs.
        shard_size: clips of a shard, rounded down to whole batches.

    Raises:
        ConfigurationError: the dataset has no index, or the loader no batch size.
    """

    def __init__(self, loader: DataLoader, copies: int, shard_size: int) -> None:
        if loader.batch_size is None or isinstance(loader.dataset, torch.utils.data.IterableDataset):
            raise ConfigurationError(
                f"expected a DataLoader with a batch size over a dataset with an index, got one over a "
                f"{type(loader.dataset).__name__}: its clips could be neither shared out nor found again"
            )
        self.loader = loader
        self.copies = copies
        self.batch_size = loader.batch_size
        self.batches_per_shard = max(1, shard_size // self.batch_size)
        self.batches_per_copy = len(self.batches(0))
        self.shards_per_copy = -(-self.batches_per_copy // self.batches_per_shard)

    @property
    def num_shards(self) -> int:
        """Of all copies."""
        return self.copies * self.shards_per_copy

    def batches(self, copy: int) -> list[list[Any]]:
        """What the dataset is indexed with, batch by batch."""
        sampler = self.loader.sampler
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(copy)
        with torch.random.fork_rng([]):  # a sampler without a seed of its own draws from the global generator
            torch.manual_seed(copy)
            keys = list(sampler)
        return [keys[first : first + self.batch_size] for first in range(0, len(keys), self.batch_size)]

    def units(self, numbers: Sequence[int]) -> Iterator[Unit]:
        """The shards of the given numbers."""
        copy, batches = -1, []
        for number in numbers:
            if number // self.shards_per_copy != copy:
                copy = number // self.shards_per_copy
                batches = self.batches(copy)
            first = number % self.shards_per_copy * self.batches_per_shard
            yield Unit(number, copy, first * self.batch_size, batches[first : first + self.batches_per_shard])

    def read(self, units: Sequence[Unit]) -> Iterator[tuple[Unit, Iterator[Batch]]]:
        """The batches of each unit, by one loader with the workers of the datamodule's."""
        loader = self.loader
        batches = DataLoader(
            loader.dataset,
            batch_sampler=[list(batch) for unit in units for batch in unit.batches],
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
        )
        iterator = iter(batches)
        for unit in units:
            yield unit, islice(iterator, len(unit.batches))

    def fingerprint(self) -> str:
        """SHA-256 of the first epoch's order, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.batches(0), default=str).encode()).hexdigest()


def data_settings(data: LightningDataModule) -> dict[str, Any]:
    """A datamodule's class and plain settings before it is set up; of those that name a file also its SHA-256."""
    plain = {
        name: value
        for name, value in vars(data).items()
        if not name.startswith("_") and name not in IRRELEVANT and isinstance(value, str | int | float | bool | Path)
    }
    settings: dict[str, Any] = {"class": type(data).__qualname__}
    for name, value in plain.items():
        settings[name] = str(value) if isinstance(value, Path) else value
        if isinstance(value, str | Path) and len(str(value)) < 1000 and Path(value).is_file():
            settings[f"{name}_sha256"] = checksum(Path(value))
    return settings


def check_batch(batch: Any, data: LightningDataModule) -> Batch:
    """A batch with waveforms.

    Raises:
        DataError: it has none.
    """
    if not isinstance(batch, Batch) or batch.waveform is None:
        raise DataError(f"{type(data).__name__} gives no waveforms to encode: use a datamodule that reads audio")
    return batch
