"""Recordings with captions in data sets of Hugging Face's package ``datasets``."""

from __future__ import annotations

from typing import Any

from consistency_tta.datamodules.clips import Clip
from consistency_tta.datamodules.recordings import RecordingsDataModule
from consistency_tta.datamodules.table_clips import read_table
from consistency_tta.datamodules.table_files import load_table


class HuggingFaceDataModule(RecordingsDataModule):
    """A data set with a column of sounds and one of captions (extra ``datasets``).

    Sounds are looked at when they are read; those that cannot be used are then replaced (``bad_clips: skip``) or an
    error; so are those of whose parts captions are, by columns ``start_time`` and ``end_time``.

    Args:
        path: folder that ``save_to_disk`` wrote; folder of parquet files, or of sounds with a ``metadata.csv``
            (``file_name,caption``); a parquet file; or a hub id.
        train_split: the split to train on, such as ``train`` or ``train[:90%]``; null for none.
        val_split: to validate on.
        test_split: to test and predict on.
        configuration: which of a hub data set's, if it has several.
        audio_column: column of the sounds.
        caption_column: column of a caption, or a list of captions, for each.
        id_column: column of the clips' names; the number of the row if null.
        **options: those of :class:`~consistency_tta.datamodules.recordings.RecordingsDataModule`.
    """

    def __init__(
        self,
        path: str,
        train_split: str | None = "train",
        val_split: str | None = None,
        test_split: str | None = None,
        configuration: str | None = None,
        audio_column: str = "audio",
        caption_column: str = "caption",
        id_column: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.path = path
        self.splits = {"train": train_split, "val": val_split, "test": test_split}
        self.configuration = configuration
        self.columns = (audio_column, caption_column, id_column)

    def prepare_data(self) -> None:
        """Download what is on the hub; Lightning calls this in one process of each machine."""
        for split in filter(None, self.splits.values()):
            load_table(self.path, split, self.configuration)

    def has_split(self, split: str) -> bool:
        """Whether a split of the data set is named."""
        return self.splits[split] is not None

    def read_clips(self, split: str) -> list[Clip]:
        """The clips of a split.

        Raises:
            ConfigurationError: if the data set has no such split or column.
            DataError: if it cannot be loaded, or a caption cannot be used.
            MissingExtraError: if the package ``datasets`` is not installed.
        """
        named = str(self.splits[split])
        rows = load_table(self.path, named, self.configuration)
        return list(read_table(rows, f"{self.path} ({named})", *self.columns))
