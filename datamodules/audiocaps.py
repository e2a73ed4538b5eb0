"""Recordings in a folder with caption files: AudioCaps, or anything in its form."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from consistency_tta.datamodules.audio_dataset import AudioDataset
from consistency_tta.datamodules.clips import AudioFolder, Clip, read_captions
from consistency_tta.datamodules.recordings import RecordingsDataModule

#: AudioDataset was defined here before, and is still found here.
__all__ = ["AudioCapsDataModule", "AudioDataset"]


class AudioCapsDataModule(RecordingsDataModule):
    """AudioCaps CSV files, or TANGO's JSON lines, with a folder of wav, flac, ogg and mp3 files.

    ``setup`` looks at the header of every file. Clips that are missing, unreadable or too short are left out and
    counted, or an error with a list; what only decoding shows (silence, damage) is dealt with when it is met.
    ``consistency-tta data-check`` finds everything beforehand.

    Args:
        audio_folder: folder with the audio of all splits, at any depth.
        train_captions: caption file or files to train on; null for none.
        val_captions: to validate on.
        test_captions: to test and predict on.
        **options: those of :class:`~consistency_tta.datamodules.recordings.RecordingsDataModule`.
    """

    def __init__(
        self,
        audio_folder: str,
        train_captions: str | list[str] | None = None,
        val_captions: str | list[str] | None = None,
        test_captions: str | list[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.audio_folder = audio_folder
        self.captions = {"train": train_captions, "val": val_captions, "test": test_captions}

    def has_split(self, split: str) -> bool:
        """Whether there are caption files of a split."""
        return bool(self.captions[split])

    def read_clips(self, split: str) -> list[Clip]:
        """The clips of a split's caption files, found in the folder.

        Raises:
            FileNotFoundError: if a file or the folder is missing.
            DataError: if a caption file cannot be understood, with the line.
        """
        files = self.captions[split] or []
        return [clip for file in ([files] if isinstance(files, str) else files) for clip in self._clips(file)]

    def _clips(self, file: str) -> list[Clip]:
        return read_captions(file, self._folder)

    @cached_property
    def _folder(self) -> AudioFolder:
        return AudioFolder(self.audio_folder)
