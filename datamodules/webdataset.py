"""Recordings with captions in WebDataset's tar files."""

from __future__ import annotations

from typing import Any

from consistency_tta.datamodules.clips import Clip
from consistency_tta.datamodules.recordings import RecordingsDataModule
from consistency_tta.datamodules.tar_shards import read_shards


class WebDatasetDataModule(RecordingsDataModule):
    """Tar files on a disk with a ``.wav``, ``.flac``, ``.ogg`` or ``.mp3`` and a ``.txt`` or ``.json`` for each clip.

    A ``.txt`` has a caption a line, a ``.json`` an object with ``captions``, ``caption`` or ``text``, a string or a
    list. In training the clips of all shards are shuffled together. Sounds are looked at when they are read; those that
    cannot be used are then replaced (``bad_clips: skip``) or an error; so are those of whose parts captions are, by
    ``start_time`` and ``end_time`` in a ``.json``.

    Args:
        train_shards: a tar file, a folder with some, a pattern such as ``shards/train-*.tar``, or a list of these; null
            for none.
        val_shards: to validate on.
        test_shards: to test and predict on.
        **options: those of :class:`~consistency_tta.datamodules.recordings.RecordingsDataModule`.
    """

    def __init__(
        self,
        train_shards: str | list[str] | None = None,
        val_shards: str | list[str] | None = None,
        test_shards: str | list[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.shards = {"train": train_shards, "val": val_shards, "test": test_shards}

    def has_split(self, split: str) -> bool:
        """Whether there are shards of a split."""
        return bool(self.shards[split])

    def read_clips(self, split: str) -> list[Clip]:
        """The clips of a split's shards.

        Raises:
            FileNotFoundError: if there is no such tar file.
            DataError: if a file is no tar file, or a clip has no caption.
        """
        return list(read_shards(self.shards[split] or []))
