"""Waveforms and captions of clips, each a pure function of the epoch and the clip's place."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from consistency_tta.audio.sound_file import BadClip
from consistency_tta.datamodules.audio import read_audio
from consistency_tta.datamodules.clips import Clip
from consistency_tta.datamodules.mixing import mix_captions, mix_waveforms

log = logging.getLogger(__name__)

#: Clips that are tried in place of a bad one before an example fails.
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
        # Clips that were looked at as a whole, or named, of which the channels may cancel: that is once enough.
        self._examined = torch.zeros(len(clips), dtype=torch.bool).share_memory_()

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
                    clip.sound(),
                    self.sample_rate,
                    self.num_samples,
                    self.peak,
                    position if self.training else 0.0,
                    self.min_seconds,
                    self.channels,
                    None if self._examined[index] else partial(self._note_examined, index),
                )
                return index, Example(waveform, clip.captions[choice if self.training else 0], clip.id)
            except BadClip as bad:
                if self.bad_clips == "fail":
                    raise BadClip(
                        bad.fault,
                        f"{bad.detail} (clip {clip.id}, {clip.path}); remove its captions, or set bad_clips: skip",
                    ) from bad
                self._warn_once(index, bad)
            index = substitute
        raise RuntimeError(
            f"{MAX_SUBSTITUTES} clips in a row cannot be used ({self.num_bad} of {len(self)} are known to be bad): run "
            "`consistency-tta data-check`"
        )

    def _note_examined(self, index: int, report: str, whole: bool) -> None:
        """Log a file whose channels almost cancel each other, once."""
        if report and not self._examined[index]:
            log.warning("%s: %s", self.clips[index].path, report)
        self._examined[index] |= whole or bool(report)

    def _warn_once(self, index: int, bad: BadClip) -> None:
        if not self._bad[index]:
            self._bad[index] = True
            log.warning(
                "clip %s cannot be used (%s); others take its place. %d of %d clips so far",
                self.clips[index].id,
                bad,
                self.num_bad,
                len(self),
            )
