"""Latents that were encoded beforehand, by ``consistency-tta encode``."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from consistency_tta.contracts import Batch, TextEmbedding, Trajectory
from consistency_tta.datamodules.base import ResumableDataModule
from consistency_tta.datamodules.latents_dataset import EncodedClip, LatentsDataset
from consistency_tta.storage.encoding_manifest import MANIFEST
from consistency_tta.storage.local_copy import local_copy

logger = logging.getLogger(__name__)


class LatentsDataModule(ResumableDataModule):
    """Training on latents that were encoded beforehand.

    Args:
        train_folder: written by ``consistency-tta encode``; or the address of such a folder in any file system of
            fsspec, such as ``s3://bucket/train`` or ``hf://datasets/owner/name/train``.
        val_folder: the same, of held-out clips; null for none.
        batch_size: examples a step in each process.
        val_batch_size: the same for validation; ``batch_size`` if null.
        num_workers: processes that load data for each training process.
        seed: of the order; that of ``seed_everything`` if null.
        text_embeddings: whether to read the captions' embeddings, where the folders have them; false for a training of
            the text encoder.
        trajectories: whether to read a teacher's trajectories, where the folders have them.
        cache_folder: where copies of folders that lie elsewhere, or are Parquet, are kept; ``consistency-tta`` in
            ``$XDG_CACHE_HOME``, or in ``~/.cache``, if null.
    """

    #: Whether a folder without a manifest is one of an earlier version.
    expects_manifest = True

    def __init__(
        self,
        train_folder: str,
        val_folder: str | None = None,
        batch_size: int = 8,
        val_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int | None = None,
        text_embeddings: bool = True,
        trajectories: bool = True,
        cache_folder: str | None = None,
    ) -> None:
        super().__init__(batch_size, val_batch_size, num_workers, seed)
        self.train_folder = train_folder
        self.val_folder = val_folder
        self.text_embeddings, self.trajectories = text_embeddings, trajectories
        self.cache_folder = cache_folder

    def has_split(self, split: str) -> bool:
        """Whether there is a folder for a split; the validation folder serves for tests, too."""
        return split == "train" or self.val_folder is not None

    def prepare_data(self) -> None:
        """Copy folders that lie elsewhere, or are Parquet; Lightning calls this in one process of each machine."""
        for folder in filter(None, (self.train_folder, self.val_folder)):
            local_copy(folder, self.cache_folder)

    def setup(self, stage: str | None = None) -> None:
        """Open the folders."""
        #: By folder, the networks whose results are read from it; trainings compare them with their own.
        self.encodings: dict[str, dict[str, Any]] = {}
        if stage in ("fit", None):
            self.train_dataset = self._open(self.train_folder)
        if self.val_folder is not None:
            self.val_dataset = self.test_dataset = self._open(self.val_folder)

    def _open(self, folder: str) -> LatentsDataset:
        dataset = LatentsDataset(local_copy(folder, self.cache_folder), self.text_embeddings, self.trajectories)
        self.encodings[folder] = dataset.encoders
        if dataset.manifest is None and self.expects_manifest:
            logger.warning(
                f"{folder} has no {MANIFEST}, so that its autoencoder cannot be compared with the model's: encode "
                "again if they might differ"
            )
        return dataset

    @staticmethod
    def collate(examples: list[EncodedClip]) -> Batch:
        """A batch with moments and without waveforms, and with what else was encoded."""
        first = examples[0]
        return Batch(
            [clip.caption for clip in examples],
            [clip.id for clip in examples],
            moments=torch.stack([clip.moments for clip in examples]),
            text=None if first.text is None else _padded([clip.text for clip in examples if clip.text is not None]),
            audio_embeddings=(
                {first.audio[0]: torch.stack([clip.audio[1] for clip in examples if clip.audio is not None])}
                if first.audio is not None
                else {}
            ),
            trajectory=(
                None
                if first.trajectory is None
                else Trajectory(*map(torch.stack, zip(*(c.trajectory for c in examples if c.trajectory), strict=True)))
            ),
        )


def _padded(embeddings: list[Tensor]) -> TextEmbedding:
    """Embeddings (tokens, width), padded with zeros to the longest."""
    lengths = torch.tensor([len(embedding) for embedding in embeddings])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return TextEmbedding(pad_sequence(embeddings, batch_first=True), mask)
