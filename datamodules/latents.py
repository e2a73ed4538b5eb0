"""Latents that were encoded beforehand, by ``consistency-tta encode``, or that a teacher makes itself."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import Dataset

from consistency_tta.contracts import Batch, LatentSource
from consistency_tta.datamodules.base import ResumableDataModule
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.storage.shards import latents_file, read_shard_captions, write_shard
from consistency_tta.storage.text import filled_lines, read_text


class LatentsDataset(Dataset):
    """The clips of a folder that ``consistency-tta encode`` wrote; memory-mapped, so that its size does not matter.

    Args:
        folder: with ``latents-*.safetensors`` and ``captions-*.jsonl``.

    Raises:
        FileNotFoundError: if there is no such folder, or a file is missing in it.
        ValueError: if a file of latents and its captions differ in number.
    """

    def __init__(self, folder: str | Path) -> None:
        if not Path(folder).is_dir():
            raise FileNotFoundError(
                f"the folder of latents {folder} does not exist or is no folder: make it with `consistency-tta encode`"
            )
        self.files = sorted(Path(folder).glob("latents-*.safetensors"))
        if not self.files:
            raise FileNotFoundError(f"no latents-*.safetensors in {folder}: make them with `consistency-tta encode`")
        self.captions = [read_shard_captions(file) for file in self.files]
        for file, captions in zip(self.files, self.captions, strict=True):
            num_latents = _moments(file).get_shape()[0]
            if num_latents != len(captions):
                raise DataError(f"{file} has {num_latents} latents for {len(captions)} captions: encode again")
        self._shards: dict[int, Any] = {}
        self.ends = list(accumulate(len(captions) for captions in self.captions))

    def __getstate__(self) -> dict[str, Any]:
        # Open files cannot be sent to a worker that is not forked: it opens its own.
        return self.__dict__ | {"_shards": {}}

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, str, str]:
        """Moments (2 C, *), caption, id."""
        index = key[1] if isinstance(key, tuple) else key
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        shard = bisect_right(self.ends, index)
        row = index - (self.ends[shard - 1] if shard else 0)
        if shard not in self._shards:
            self._shards[shard] = _moments(self.files[shard])
        return self._shards[shard][row].float(), *self.captions[shard][row]


def _moments(latents: Path) -> Any:
    """(clips, 2 C, *) in the file, read where it is indexed."""
    return safe_open(latents, framework="pt").get_slice("moments")


class LatentsDataModule(ResumableDataModule):
    """Training on latents that were encoded beforehand.

    Args:
        train_folder: written by ``consistency-tta encode``.
        val_folder: the same, of held-out clips; null for none.
        batch_size: examples a step in each process.
        val_batch_size: the same for validation; ``batch_size`` if null.
        num_workers: processes that load data for each training process.
        seed: of the order; that of ``seed_everything`` if null.
    """

    def __init__(
        self,
        train_folder: str,
        val_folder: str | None = None,
        batch_size: int = 8,
        val_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, val_batch_size, num_workers, seed)
        self.train_folder = train_folder
        self.val_folder = val_folder

    def setup(self, stage: str | None = None) -> None:
        """Open the folders."""
        if stage in ("fit", None):
            self.train_dataset = LatentsDataset(self.train_folder)
        if self.val_folder is not None:
            self.val_dataset = self.test_dataset = LatentsDataset(self.val_folder)

    @staticmethod
    def collate(examples: list[tuple[Tensor, str, str]]) -> Batch:
        """A batch with moments and without waveforms."""
        moments, captions, ids = zip(*examples, strict=True)
        return Batch(list(captions), list(ids), moments=torch.stack(moments))


class GeneratedLatentsDataModule(LatentsDataModule):
    """Training without recordings: latents that a source, such as the teacher, makes for a list of captions.

    They are made once, before training, and kept; what is there already is not made again. On several nodes the folder
    must be on a file system that all of them see.

    Args:
        source: makes latents for captions.
        captions: text file with a caption per line.
        train_folder: where the latents are kept.
        copies: latents per caption, each from its own noise.
        val_folder: latents of held-out recordings, written by ``consistency-tta encode``; null for none.
        batch_size: examples a step in each process.
        val_batch_size: the same for validation; ``batch_size`` if null.
        num_workers: processes that load data for each training process.
        seed: of the order and of the source's noise.

    Raises:
        FileNotFoundError: if there is no file of captions.
        ValueError: if it is empty, or for fewer copies than 1.
    """

    def __init__(
        self,
        source: LatentSource,
        captions: str,
        train_folder: str,
        copies: int = 8,
        val_folder: str | None = None,
        batch_size: int = 8,
        val_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__(train_folder, val_folder, batch_size, val_batch_size, num_workers, seed)
        # Nodes usually share a file system: one process in all makes the latents, or every node's would write the same
        # files. Set here, since Lightning's own constructor hides the class attribute.
        self.prepare_data_per_node = False
        self.source = source
        if not Path(captions).is_file():
            raise FileNotFoundError(
                f"the file of captions {captions} does not exist: expected text, a caption per line"
            )
        self.list_of_captions = filled_lines(read_text(Path(captions)))
        if not self.list_of_captions or copies < 1:
            raise ConfigurationError(
                f"expected captions and copies, got {len(self.list_of_captions)} lines in {captions} x {copies}"
            )
        self.copies = copies

    def prepare_data(self) -> None:
        """Make what is missing; Lightning calls this in one process of all nodes."""
        folder = Path(self.train_folder)
        for copy in range(self.copies):
            if not latents_file(folder, copy).exists():
                moments = self.source(self.list_of_captions, self.seed * self.copies + copy)
                ids = [f"{index:05d}_{copy}" for index in range(len(self.list_of_captions))]
                write_shard(folder, copy, moments, self.list_of_captions, ids)
