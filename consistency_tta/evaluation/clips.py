"""A clip of an evaluation: its pair of files, how a sound is read, and what can be wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from consistency_tta.audio.resample import resample
from consistency_tta.audio.sound_file import SILENCE_PEAK, BadClip, Sound, read_whole, warn_of_cancelling
from consistency_tta.evaluation.protocol import AudioSettings

#: The two folders.
GENERATED, REFERENCE = "generated", "reference"


@dataclass(frozen=True)
class Finding:
    """A fault of a clip or a file.

    Attributes:
        id: the clip's name, or the file's where it belongs to no clip.
        side: ``generated``, ``reference`` or ``captions``.
        reason: the kind of fault, in a few words.
        detail: of the fault, as a sentence.
    """

    id: str
    side: str
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.id} ({self.side}): {self.reason}, {self.detail}"


@dataclass(frozen=True)
class Pair:
    """A generated sound, the recording with the same name, their caption, and more generated sounds of it, by side."""

    id: str
    caption: str
    generated: Path
    reference: Path
    more: dict[str, Path] = field(default_factory=dict)

    @property
    def sides(self) -> dict[str, Path]:
        """All files by side: generated, reference, and the others."""
        return {GENERATED: self.generated, REFERENCE: self.reference, **self.more}


def read_sound(path: Path, audio: AudioSettings) -> tuple[Tensor, str, float]:
    """A sound prepared as the protocol specifies.

    Args:
        path: of the file, of any rate and number of channels.
        audio: the protocol's settings.

    Returns:
        (num_samples,) float32, in which silence stays silence; the file's format, such as ``44100 Hz, 2 channels``; and
        its own length in seconds.

    Raises:
        BadClip: the file is missing, empty, unreadable, truncated, or has samples that are not finite.
    """
    sound = read_whole(path)
    warn_of_cancelling(path, sound)
    channels = f"{sound.channels} channel{'s' * (sound.channels != 1)}"
    return prepare(sound, audio), f"{sound.sample_rate} Hz, {channels}", len(sound.waveform) / sound.sample_rate


def prepare(sound: Sound, audio: AudioSettings) -> Tensor:
    """A sound (num_samples,) as the protocol specifies it; silence stays silence."""
    waveform = resample(sound.waveform, sound.sample_rate, audio.sample_rate)[: audio.num_samples]
    if audio.mean_removed:
        waveform = waveform - waveform.mean()
    if audio.peak is not None and not is_silent(waveform):
        waveform = waveform * (audio.peak / waveform.abs().max())
    return torch.nn.functional.pad(waveform, (0, audio.num_samples - len(waveform)))


def is_silent(waveform: Tensor) -> bool:
    """Whether a waveform (samples,) stays below -80 dB of full scale."""
    return float(waveform.abs().max()) < SILENCE_PEAK


def fault_of(pair: Pair, side: str, bad: BadClip) -> Finding:
    """Why a file cannot be evaluated."""
    return Finding(pair.id, side, str(bad.fault), f"{pair.sides[side].name}: {bad.detail}")
