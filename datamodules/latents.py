"""Latents that were encoded beforehand, by ``consistency-tta encode``, or that a teacher makes itself."""

from __future__ import annotations

import logging
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from consistency_tta.contracts import Batch, LatentSource, TextEmbedding, Trajectory
from consistency_tta.datamodules.base import ResumableDataModule
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.storage.encoding_manifest import MANIFEST, read_manifest
from consistency_tta.storage.shards import Shard, latents_file, noise_of_seed, write_shard
from consistency_tta.storage.text import filled_lines, read_text

logger = logging.getLogger(__name__)


class EncodedClip(NamedTuple):
    """A clip as ``encode`` wrote it.

    Attributes:
        moments: (2 C, *).
        caption, id: of the clip.
        text: the caption's embedding (tokens, width); None where there is none, as for all that follow.
        audio: the recording's embedding (D,), by the checksum of its encoder.
        trajectory: noise (C, *), latent (C, *) and w () of a teacher.
    """

    moments: Tensor
    caption: str
    id: str
    text: Tensor | None = None
    audio: tuple[str, Tensor] | None = None
    trajectory: tuple[Tensor, Tensor, Tensor] | None = None


class LatentsDataset(Dataset):
    """The clips of a folder that ``consistency-tta encode`` wrote; memory-mapped, so that its size does not matter.

    Args:
        folder: with ``latents-*.safetensors`` and ``captions-*.jsonl``.
        text: whether to read the captions' embeddings, where the folder has them.
        trajectories: whether to read a teacher's trajectories, where the folder has them.

    Attributes:
        manifest: of :mod:`consistency_tta.storage.encoding_manifest`; None for folders that have none.
        encoders: the manifest's networks whose results are read: ``codec``, and ``text``, ``audio`` and ``teacher``.

    Raises:
        FileNotFoundError: if there is no such folder, or a file is missing in it.
        DataError: if a file of latents and its captions differ in number, or the folder is not complete.
    """

    def __init__(self, folder: str | Path, text: bool = True, trajectories: bool = True) -> None:
        if not Path(folder).is_dir():
            raise FileNotFoundError(
                f"the folder of latents {folder} does not exist or is no folder: make it with `consistency-tta encode`"
            )
        files = sorted(Path(folder).glob("latents-*.safetensors"))
        if not files:
            raise FileNotFoundError(f"no latents-*.safetensors in {folder}: make them with `consistency-tta encode`")
        self.manifest = read_manifest(Path(folder))
        if self.manifest is not None and self.manifest["shards"] != len(files):
            raise DataError(
                f"{folder} has {len(files)} of {self.manifest['shards']} files of latents: run the same `encode` "
                "command again, which goes on where it was stopped"
            )
        self.shards = [Shard(file) for file in files]
        everywhere = frozenset.intersection(*(shard.contents for shard in self.shards))
        self.has_text = text and "text" in everywhere
        self.has_trajectories = trajectories and "teacher_latent" in everywhere
        audio = (self.manifest or {}).get("audio", {}) if "audio" in everywhere else {}
        self.audio_checksum: str | None = audio.get("sha256")
        read = {"text": self.has_text, "teacher": self.has_trajectories}
        self.encoders: dict[str, Any] = {
            name: self.manifest[name]
            for name in ("codec", "text", "audio", "teacher")
            if self.manifest is not None and name in self.manifest and read.get(name, True)
        }
        self._ends = list(accumulate(len(shard) for shard in self.shards))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: int | tuple[int, int]) -> EncodedClip:
        """A clip; epochs do not differ."""
        index = key[1] if isinstance(key, tuple) else key
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        shard, row = self.shards[number], index - (self._ends[number - 1] if number else 0)
        return EncodedClip(
            shard.tensor("moments", row).float(),
            *shard.captions[row],
            shard.text(row).float() if self.has_text else None,
            (self.audio_checksum, shard.tensor("audio", row)) if self.audio_checksum else None,
            self._trajectory(shard, row) if self.has_trajectories else None,
        )

    def _trajectory(self, shard: Shard, row: int) -> tuple[Tensor, Tensor, Tensor]:
        latent = shard.tensor("teacher_latent", row).float()
        noise = noise_of_seed(int(shard.tensor("noise_seed", row)), latent.shape)
        return noise, latent, shard.tensor("guidance_scale", row)


class LatentsDataModule(ResumableDataModule):
    """Training on latents that were encoded beforehand.

    Args:
        train_folder: written by ``consistency-tta encode``.
        val_folder: the same, of held-out clips; null for none.
        batch_size: examples a step in each process.
        val_batch_size: the same for validation; ``batch_size`` if null.
        num_workers: processes that load data for each training process.
        seed: of the order; that of ``seed_everything`` if null.
        text_embeddings: whether to read the captions' embeddings, where the folders have them; false for a training of
            the text encoder.
        trajectories: whether to read a teacher's trajectories, where the folders have them.
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
    ) -> None:
        super().__init__(batch_size, val_batch_size, num_workers, seed)
        self.train_folder = train_folder
        self.val_folder = val_folder
        self.text_embeddings, self.trajectories = text_embeddings, trajectories

    def has_split(self, split: str) -> bool:
        """Whether there is a folder for a split; the validation folder serves for tests, too."""
        return split == "train" or self.val_folder is not None

    def setup(self, stage: str | None = None) -> None:
        """Open the folders."""
        #: By folder, the networks whose results are read from it; trainings compare them with their own.
        self.encodings: dict[str, dict[str, Any]] = {}
        if stage in ("fit", None):
            self.train_dataset = self._open(self.train_folder)
        if self.val_folder is not None:
            self.val_dataset = self.test_dataset = self._open(self.val_folder)

    def _open(self, folder: str) -> LatentsDataset:
        dataset = LatentsDataset(folder, self.text_embeddings, self.trajectories)
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
