"""What the datamodules of recordings with captions share: options of the audio, and what happens to bad clips."""

from __future__ import annotations

import logging
from typing import Literal

import torch

from consistency_tta.contracts import Batch
from consistency_tta.datamodules.audio_dataset import AudioDataset, Example
from consistency_tta.datamodules.base import ResumableDataModule
from consistency_tta.datamodules.check import check_headers, listing, summary
from consistency_tta.datamodules.clips import Clip
from consistency_tta.runtime.errors import ConfigurationError, DataError

log = logging.getLogger(__name__)

#: The splits that each of Lightning's stages reads.
SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}


class RecordingsDataModule(ResumableDataModule):
    """Recordings with captions, from wherever a subclass's :meth:`read_clips` finds them.

    Args:
        sample_rate: the model's, in Hz; recordings may have any.
        num_samples: the model's length; 163840 is 10.24 s at 16 kHz. Shorter clips are followed by zeros, of longer
            ones a random part is taken in training and the beginning otherwise.
        batch_size: examples a step in each process.
        val_batch_size: the same for validation, test and prediction; ``batch_size`` if null.
        num_workers: processes that load data for each training process.
        pair_mixing: probability that a training example is the sum of two clips; TANGO's share is 1/3.
        peak: the largest magnitude of every waveform.
        bad_clips: "skip" or "fail".
        min_seconds: the shortest clip that can be used.
        seed: of the order and of all draws; that of ``seed_everything`` if null.
        limit: use only the first so many clips of each split; null for all.
        channels: the model's; 1 is mono, 2 is stereo. A recording with others is averaged, and the average repeated.

    Raises:
        ConfigurationError: for values out of range.
        DataError: in ``setup`` for bad clips if ``bad_clips`` is "fail", and if no clip can be used.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        num_samples: int = 163840,
        batch_size: int = 8,
        val_batch_size: int | None = None,
        num_workers: int = 0,
        pair_mixing: float = 0.0,
        peak: float = 0.5,
        bad_clips: Literal["skip", "fail"] = "skip",
        min_seconds: float = 0.5,
        seed: int | None = None,
        limit: int | None = None,
        channels: int = 1,
    ) -> None:
        super().__init__(batch_size, val_batch_size, num_workers, seed)
        if min(sample_rate, num_samples, channels, 1 if limit is None else limit) < 1:
            raise ConfigurationError(
                "sample_rate, num_samples, channels and limit must be at least 1, "
                f"got {sample_rate}, {num_samples}, {channels} and {limit}"
            )
        if not 0 <= pair_mixing <= 1 or not 0 < peak <= 1:
            raise ConfigurationError(f"expected pair_mixing in [0, 1] and peak in (0, 1], got {pair_mixing} and {peak}")
        if bad_clips not in ("skip", "fail"):
            raise ConfigurationError(f'bad_clips must be "skip" or "fail", got {bad_clips!r}')
        self.sample_rate = sample_rate
        self.num_samples = num_samples
        self.pair_mixing = pair_mixing
        self.peak = peak
        self.bad_clips = bad_clips
        self.min_seconds = min_seconds
        self.limit = limit
        self.channels = channels

    def read_clips(self, split: str) -> list[Clip]:
        """The clips of a split, of which :meth:`has_split` is true. To be overridden.

        Args:
            split: ``train``, ``val`` or ``test``.
        """
        raise NotImplementedError("a datamodule of recordings must define read_clips(split) -> list[Clip]")

    def setup(self, stage: str | None = None) -> None:
        """Read the captions of the splits that the stage needs, and look at the headers of audio files."""
        for split in SPLITS.get(stage or "", ("train", "val", "test")):
            if self.has_split(split) and getattr(self, f"{split}_dataset") is None:
                clips = self._usable(split, self.read_clips(split)[: self.limit])
                setattr(self, f"{split}_dataset", self._dataset(split, clips))

    @staticmethod
    def collate(examples: list[Example]) -> Batch:
        """Stack examples into waveform (B, num_samples), or (B, channels, num_samples) of several channels."""
        waveforms, captions, ids = zip(*examples, strict=True)
        return Batch(captions=list(captions), ids=list(ids), waveform=torch.stack(waveforms))

    def _dataset(self, split: str, clips: list[Clip]) -> AudioDataset:
        return AudioDataset(
            clips,
            self.sample_rate,
            self.num_samples,
            training=split == "train",
            pair_mixing=self.pair_mixing,
            peak=self.peak,
            bad_clips=self.bad_clips,
            min_seconds=self.min_seconds,
            seed=self.seed,
            channels=self.channels,
        )

    def _usable(self, split: str, clips: list[Clip]) -> list[Clip]:
        trainer = self.trainer
        findings = check_headers(clips, self.min_seconds) if trainer is None or trainer.is_global_zero else []
        if trainer is not None:
            # One process looks and all agree, or their epochs would differ in length and wait for each other forever.
            findings = trainer.strategy.broadcast(findings)
        if not findings:
            return clips
        message = f"{split}: {summary(findings, len(clips))}"
        if self.bad_clips == "fail":
            raise DataError(f"{message}; remove their captions, or set bad_clips: skip\n{listing(findings, 20)}")
        bad = {(finding.id, finding.path) for finding in findings}
        usable = [clip for clip in clips if (clip.id, str(clip.path)) not in bad]
        if not usable:
            raise DataError(f"{message}, so none is left: is this the right folder?\n{listing(findings, 5)}")
        log.warning("%s and are left out:\n%s", message, listing(findings, 5))
        return usable
