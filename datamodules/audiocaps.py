"""Recordings with captions: AudioCaps, or anything in its form."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from consistency_tta.audio.sound_file import BadClip
from consistency_tta.contracts import Batch
from consistency_tta.datamodules.audio import read_audio
from consistency_tta.datamodules.base import ResumableDataModule
from consistency_tta.datamodules.check import check_headers, listing, summary
from consistency_tta.datamodules.clips import AudioFolder, Clip, read_captions
from consistency_tta.datamodules.mixing import mix_captions, mix_waveforms
from consistency_tta.runtime.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

#: How many clips are tried in the place of a bad one.
MAX_SUBSTITUTES = 100


class Example(NamedTuple):
    """One clip as training sees it: waveform (num_samples,) or (channels, num_samples), its caption, its name."""

    waveform: Tensor
    caption: str
    id: str


class AudioDataset(Dataset):
    """Waveforms and captions of clips.

    ``dataset[epoch, index]`` is a pure function of the pair and the seed: caption, crop, mixing partner and the
    substitute of a bad clip are drawn from a generator made of them. ``dataset[index]`` is that of epoch 0.

    Args:
        clips: at least one.
        sample_rate: in Hz.
        num_samples: length of every waveform.
        training: draw captions and crops; otherwise the first caption and the beginning.
        pair_mixing: probability that a training example is mixed with another (see ``mixing.py``).
        peak: the largest magnitude of every waveform.
        bad_clips: "skip" puts another clip in the place of one that cannot be read, and logs it once; "fail" raises.
        min_seconds: the shortest clip that can be used.
        seed: of all draws.
        channels: of every waveform; 1 gives (num_samples,), more give (channels, num_samples).
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        sample_rate: int,
        num_samples: int,
        training: bool,
        pair_mixing: float = 0.0,
        peak: float = 0.5,
        bad_clips: Literal["skip", "fail"] = "skip",
        min_seconds: float = 0.5,
        seed: int = 0,
        channels: int = 1,
    ) -> None:
        self.clips = clips
        self.sample_rate = sample_rate
        self.num_samples = num_samples
        self.training = training
        self.pair_mixing = pair_mixing
        self.peak = peak
        self.bad_clips = bad_clips
        self.min_seconds = min_seconds
        self.seed = seed
        self.channels = channels
        # Shared by the workers, so that each bad clip is counted and logged once. It decides nothing else: a clip of
        # which one part is bad stays in use, or an example would depend on what was read before it.
        self._bad = torch.zeros(len(clips), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def num_bad(self) -> int:
        """Clips that turned out to be bad, in part or whole, while they were read, so far."""
        return int(self._bad.sum())

    def __getitem__(self, key: int | tuple[int, int]) -> Example:
        """An example.

        Raises:
            BadClip: for a clip that cannot be used, if ``bad_clips`` is "fail".
            RuntimeError: if it is "skip" and a hundred substitutes are no better.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        random = np.random.default_rng((self.seed, epoch, index))
        index, first = self._read(index, random)
        if not self.training or random.random() >= self.pair_mixing or len(self) < 2:
            return first
        other = int(random.integers(len(self) - 1))
        _, second = self._read(other + (other >= index), random)
        return Example(
            mix_waveforms(first.waveform, second.waveform, self.sample_rate, self.peak),
            mix_captions(first.caption, second.caption),
            f"{first.id}+{second.id}",
        )

    def _read(self, index: int, random: np.random.Generator) -> tuple[int, Example]:
        for _ in range(MAX_SUBSTITUTES):
            clip = self.clips[index]
            position, choice = random.random(), int(random.integers(len(clip.captions)))
            substitute = int(random.integers(len(self)))
            try:
                waveform = read_audio(
                    clip.path,
                    self.sample_rate,
                    self.num_samples,
                    self.peak,
                    position if self.training else 0.0,
                    self.min_seconds,
                    self.channels,
                )
                return index, Example(waveform, clip.captions[choice if self.training else 0], clip.id)
            except BadClip as bad:
                if self.bad_clips == "fail":
                    raise BadClip(
                        bad.fault,
                        f"{bad.detail} (clip {clip.id}, {clip.path}); remove its captions, or set bad_clips: skip",
                    ) from bad
                self._tell_once(index, bad)
            index = substitute
        raise RuntimeError(
            f"{MAX_SUBSTITUTES} clips in a row cannot be used ({self.num_bad} of {len(self)} are known to be bad): run "
            "`consistency-tta data-check`"
        )

    def _tell_once(self, index: int, bad: BadClip) -> None:
        if not self._bad[index]:
            self._bad[index] = True
            log.warning(
                "clip %s cannot be used (%s); others take its place. %d of %d clips so far",
                self.clips[index].id,
                bad,
                self.num_bad,
                len(self),
            )


class AudioCapsDataModule(ResumableDataModule):
    """AudioCaps CSV files, or TANGO's JSON lines, with a folder of wav, flac, ogg and mp3 files.

    ``setup`` looks at the header of every file. Clips that are missing, unreadable or too short are left out and
    counted, or an error with a list; what only decoding shows (silence, damage) is dealt with when it is met.
    ``consistency-tta data-check`` finds everything beforehand.

    Args:
        audio_folder: folder with the audio of all splits, at any depth.
        train_captions: caption file or files to train on; null for none.
        val_captions: to validate on.
        test_captions: to test and predict on.
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
        DataError: for values out of range, and in ``setup`` for bad clips if ``bad_clips`` is "fail".
    """

    def __init__(
        self,
        audio_folder: str,
        train_captions: str | list[str] | None = None,
        val_captions: str | list[str] | None = None,
        test_captions: str | list[str] | None = None,
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
        self.audio_folder = audio_folder
        self.captions = {"train": train_captions, "val": val_captions, "test": test_captions}
        self.sample_rate = sample_rate
        self.num_samples = num_samples
        self.pair_mixing = pair_mixing
        self.peak = peak
        self.bad_clips = bad_clips
        self.min_seconds = min_seconds
        self.limit = limit
        self.channels = channels

    def setup(self, stage: str | None = None) -> None:
        """Read the captions and look at the files of the splits that the stage needs."""
        splits = {"fit": ["train", "val"], "validate": ["val"], "test": ["test"], "predict": ["test"]}
        folder: AudioFolder | None = None
        for split in splits.get(stage or "", list(self.captions)):
            files = self.captions[split]
            if files and getattr(self, f"{split}_dataset") is None:
                folder = folder or AudioFolder(self.audio_folder)
                files = [files] if isinstance(files, str) else files
                clips = [clip for file in files for clip in read_captions(file, folder)][: self.limit]
                setattr(self, f"{split}_dataset", self._dataset(split, self._usable(split, clips)))

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
            raise DataError(f"{message}, so none is left; is {self.audio_folder} the right folder?")
        log.warning("%s and are left out:\n%s", message, listing(findings, 5))
        return usable
