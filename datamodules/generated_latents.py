"""Latents that a source, such as the teacher, makes for captions."""

from __future__ import annotations

from pathlib import Path

from consistency_tta.contracts import LatentSource
from consistency_tta.datamodules.latents import LatentsDataModule
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.shards import latents_file, write_shard
from consistency_tta.storage.text import filled_lines, read_text


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
        ConfigurationError: if it is empty, or for fewer copies than 1.
    """

    expects_manifest = False

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
        super().prepare_data()
