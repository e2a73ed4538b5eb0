"""Sounds and captions made by code: for tests, demonstrations and dry runs, with nothing to download."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from consistency_tta.contracts import Batch
from consistency_tta.datamodules.base import ResumableDataModule
from consistency_tta.runtime.errors import ConfigurationError

#: Caption and band in Hz; a band of no frequency is noise.
KINDS: tuple[tuple[str, tuple[float, float] | None], ...] = (
    ("a low tone", (110.0, 220.0)),
    ("a tone", (440.0, 880.0)),
    ("a high tone", (1760.0, 3520.0)),
    ("noise", None),
)


class SyntheticDataset(Dataset):
    """Clips of four kinds in turn, each named by its caption, each a pure function of (seed, index).

    Args:
        num_clips: how many.
        sample_rate: in Hz.
        num_samples: length of a clip.
        seed: another seed gives other clips.
        name: begins the ids.
        channels: of a clip. With more than one, each clip has its own level in each channel.
    """

    def __init__(
        self, num_clips: int, sample_rate: int, num_samples: int, seed: int, name: str, channels: int = 1
    ) -> None:
        self.num_clips = num_clips
        self.sample_rate = sample_rate
        self.num_samples = num_samples
        self.seed = seed
        self.name = name
        self.channels = channels

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, str, str]:
        """Waveform (num_samples,) or (channels, num_samples) with peak 0.5, caption, id; the same in every epoch."""
        index = key[1] if isinstance(key, tuple) else key
        if not 0 <= index < self.num_clips:
            raise IndexError(f"clip {index} of {self.num_clips}")
        random = np.random.default_rng((self.seed, index))
        caption, band = KINDS[index % len(KINDS)]
        if band is None:
            waveform = random.standard_normal(self.num_samples)
        else:
            # Log-uniform, and below the Nyquist frequency at any sample rate.
            frequency = min(math.exp(random.uniform(*np.log(band))), 0.45 * self.sample_rate)
            seconds = np.arange(self.num_samples) / self.sample_rate
            waveform = np.sin(2 * math.pi * (frequency * seconds + random.uniform()))
        if self.channels > 1:
            waveform = random.uniform(0.2, 1.0, (self.channels, 1)) * waveform
        waveform *= 0.5 / np.abs(waveform).max()
        return torch.from_numpy(waveform).float(), caption, f"{self.name}_{index}"


class SyntheticDataModule(ResumableDataModule):
    """Tones and noise with captions that name them.

    Args:
        num_clips: training clips.
        num_val_clips: validation clips, and as many test clips.
        sample_rate: in Hz.
        num_samples: length of a clip; 163840 is the 10.24 s at 16 kHz of the AudioCaps models.
        batch_size: examples a step in each process.
        val_batch_size: the same for validation, test and prediction; ``batch_size`` if null.
        num_workers: processes that load data for each training process.
        seed: of the clips and their order; that of ``seed_everything`` if null.
        channels: of a clip; 1 gives waveforms (B, num_samples), more give (B, channels, num_samples).

    Raises:
        ConfigurationError: if a number is below 1.
    """

    def __init__(
        self,
        num_clips: int = 64,
        num_val_clips: int = 8,
        sample_rate: int = 16000,
        num_samples: int = 163840,
        batch_size: int = 4,
        val_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int | None = None,
        channels: int = 1,
    ) -> None:
        super().__init__(batch_size, val_batch_size, num_workers, seed)
        if min(num_clips, num_val_clips, sample_rate, num_samples, channels) < 1:
            raise ConfigurationError(
                "num_clips, num_val_clips, sample_rate, num_samples and channels must be at least 1, got "
                f"{num_clips}, {num_val_clips}, {sample_rate}, {num_samples} and {channels}"
            )
        self.sample_rate = sample_rate
        self.channels = channels
        self.train_dataset = SyntheticDataset(num_clips, sample_rate, num_samples, 3 * self.seed, "train", channels)
        self.val_dataset = SyntheticDataset(num_val_clips, sample_rate, num_samples, 3 * self.seed + 1, "val", channels)
        self.test_dataset = SyntheticDataset(
            num_val_clips, sample_rate, num_samples, 3 * self.seed + 2, "test", channels
        )

    @staticmethod
    def collate(examples: list[tuple[Tensor, str, str]]) -> Batch:
        """Stack examples into waveform (B, num_samples), or (B, channels, num_samples) of several channels."""
        waveforms, captions, ids = zip(*examples, strict=True)
        return Batch(captions=list(captions), ids=list(ids), waveform=torch.stack(waveforms))
