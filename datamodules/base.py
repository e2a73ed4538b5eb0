"""What all datamodules share: the loaders, and an order of training that a checkpoint can enter anywhere."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from consistency_tta.contracts import Batch
from consistency_tta.datamodules.sampler import ResumableLoader, ResumableSampler
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.seed import seed_or_default

#: Workers of a process at most: each is a process that has read the captions.
MOST_WORKERS = 512


class ResumableDataModule(LightningDataModule):
    """Loaders for the datasets that a subclass's ``setup`` assigns.

    Training data must be a map-style dataset whose ``dataset[epoch, index]`` is a pure function of the pair (and of its
    own seed). Then a run that is stopped at any step and resumed from its checkpoint sees, bit for bit, what the
    uninterrupted run would have seen, with any number of workers; and W processes with batches of B see in each
    step what one process with batches of W B sees. Other loaders read ``dataset[index]`` in order.

    Args:
        batch_size: examples a step in each process.
        val_batch_size: the same for validation, test and prediction; ``batch_size`` if null.
        num_workers: processes that load data for each training process; 0 loads in the training process.
        seed: of the order and of all augmentation; that of ``seed_everything`` if null.

    Attributes:
        train_dataset, val_dataset, test_dataset: assigned by ``setup``; None where there is no such data.

    Raises:
        ConfigurationError: for a batch size below 1, or a number of workers that is negative or none that a machine
            has room for.
    """

    train_dataset: Dataset | None = None
    val_dataset: Dataset | None = None
    test_dataset: Dataset | None = None

    def __init__(
        self, batch_size: int = 8, val_batch_size: int | None = None, num_workers: int = 0, seed: int | None = None
    ) -> None:
        super().__init__()
        if batch_size < 1 or (val_batch_size is not None and val_batch_size < 1):
            raise ConfigurationError(f"batch sizes must be at least 1, got {batch_size} and {val_batch_size}")
        if not 0 <= num_workers <= MOST_WORKERS:
            raise ConfigurationError(f"num_workers must be 0 to {MOST_WORKERS}, got {num_workers}")
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size or batch_size
        self.num_workers = num_workers
        self.seed = seed_or_default(seed)

    # Static, because workers that are not forked (macOS, Windows, Python 3.14) are sent it by pickle: a bound method
    # would take the datamodule along, and with it the trainer and the model.
    @staticmethod
    def collate(examples: list[Any]) -> Batch:
        """One batch of what the datasets give. To be overridden by a static method."""
        raise NotImplementedError("a datamodule must define the static method collate(examples) -> Batch")

    def has_split(self, split: str) -> bool:
        """Whether ``setup`` will find data of a split (``train``, ``val`` or ``test``).

        To be overridden where datasets are not made in the constructor: then loaders before ``setup`` are an error.
        """
        return getattr(self, f"{split}_dataset") is not None

    def train_dataloader(self) -> DataLoader:
        """Shuffled, in whole batches, entered where the checkpoint left the epoch.

        Raises:
            ConfigurationError: if there is no training data, or ``setup`` was not called, as for the other loaders.
        """
        self._require_setup("train")
        if self.train_dataset is None:
            raise ConfigurationError(
                f"{type(self).__name__} has no training data: specify it in its options, or only validate or test"
            )
        world_size = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        sampler = ResumableSampler(
            self.train_dataset, self.batch_size, self.seed, rank, world_size, first_batch=self._batches_seen
        )
        return ResumableLoader(
            self.train_dataset,
            world_size=world_size,
            sampler=sampler,
            batch_size=self.batch_size,
            drop_last=True,
            **self._loader_options(),
        )

    def val_dataloader(self) -> DataLoader | list:
        """In order, complete; no loader if there is no validation data."""
        self._require_setup("val")
        return [] if self.val_dataset is None else self._in_order(self.val_dataset)

    def test_dataloader(self) -> DataLoader:
        """In order, complete."""
        self._require_setup("test")
        if self.test_dataset is None:
            # Lightning would run over no loader, do nothing and call it a success.
            raise ConfigurationError(
                f"{type(self).__name__} has no data to test or predict on: specify it in its options, or only fit"
            )
        return self._in_order(self.test_dataset)

    def predict_dataloader(self) -> DataLoader:
        """The test data."""
        return self.test_dataloader()

    def _require_setup(self, split: str) -> None:
        if self.has_split(split) and getattr(self, f"{split}_dataset") is None:
            stage = "test" if split == "test" else "fit"
            raise ConfigurationError(
                f"{type(self).__name__} has not read its {split} data yet: call setup({stage!r}) before asking for a "
                "loader, or give the datamodule to a Trainer, which calls it"
            )

    def _in_order(self, dataset: Dataset) -> DataLoader:
        return DataLoader(dataset, batch_size=self.val_batch_size, **self._loader_options())

    def _loader_options(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "collate_fn": self.collate,
            "pin_memory": torch.cuda.is_available(),
            # Of its own: a loader that draws its workers' seeds from the global generator changes the noise that
            # training draws next, and so a resumed run, which begins one iteration more, would leave the straight one.
            "generator": torch.Generator().manual_seed(self.seed),
        }

    def _batches_seen(self) -> int:
        """Batches of this epoch that training has done: above 0 only when a checkpoint was taken inside the epoch.

        It is the counter from which Lightning makes ``batch_idx``, read when the iteration begins, after Lightning has
        settled what the checkpoint's moment (inside a step, after it, after validation, at the epoch's end) means.
        """
        if self.trainer is None or not self.trainer.training:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
