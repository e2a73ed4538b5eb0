"""Sound files: what they hold, and what can be wrong with one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor

from consistency_tta.audio.antiphase import CANCELLED_SHARE, cancelling_report, kept_power
from consistency_tta.audio.bad_clip import BadClip, Fault
from consistency_tta.audio.mp3_layout import MP3_SLACK
from consistency_tta.audio.sound_bytes import ERRORS, decoder_report, inspect, read_parts
from consistency_tta.audio.sound_source import SoundSource, for_decoder, num_bytes

__all__ = [
    "SILENCE_PEAK",
    "BadClip",
    "Fault",
    "Sound",
    "audio_info",
    "decode_channels",
    "mono",
    "read_whole",
    "warn_of_cancelling",
]

log = logging.getLogger(__name__)

#: The largest sample that is a sound's, a million times full scale: squares and sums of what is beyond overflow.
LARGEST = 1e6
#: Peak, of full scale, below which a sound is silent (-80 dB).
SILENCE_PEAK = 1e-4


class Sound(NamedTuple):
    """A whole file as mono.

    Attributes:
        waveform: (samples,) float32, the mean of the channels.
        sample_rate: in Hz.
        channels: of the file.
        cancelling: what the mean lacks, as a sentence, where the channels almost cancel each other; empty if it lacks
            little.
    """

    waveform: Tensor
    sample_rate: int
    channels: int
    cancelling: str = ""


def read_whole(source: SoundSource) -> Sound:
    """All of a file, if all is there.

    Raises:
        BadClip: if it is missing, unreadable, empty, shorter than its header states, has samples that are not finite,
            or channels whose mean is silent though they are not.
    """
    if truncated := inspect(source).truncated:
        raise BadClip(Fault.TRUNCATED, truncated)
    rate, frames, channels = audio_info(source)
    waveform, _ = decode_channels(source)
    if (decoded := waveform.shape[1]) < frames - MP3_SLACK:
        raise BadClip(Fault.TRUNCATED, f"{decoded / rate:.2f} s, its header states {frames / rate:.2f} s")
    return Sound(mono(waveform), rate, channels, cancelling_report(waveform, rate))


def audio_info(source: SoundSource, min_seconds: float = 0.0) -> tuple[int, int, int]:
    """Sample rate in Hz, samples and channels: of the header, or counted where its bytes contradict it.

    Raises:
        BadClip: if it is missing, unreadable or shorter than ``min_seconds``.
    """
    info = inspect(source)
    if not info.frames:
        size = num_bytes(source)
        raise BadClip(Fault.TOO_SHORT, f"no samples in the file of {size:,} bytes, expected some")
    if info.frames < min_seconds * info.sample_rate:
        seconds = info.frames / info.sample_rate
        raise BadClip(Fault.TOO_SHORT, f"{seconds:.3f} s, expected at least {min_seconds} s")
    return info.sample_rate, info.frames, info.channels


def decode_channels(source: SoundSource, start: int = 0, frames: int = -1) -> tuple[Tensor, int]:
    """Read a file, or a part of it.

    Args:
        source: the file.
        start: first sample to read, at the file's rate.
        frames: how many samples to read; -1 for all.

    Returns:
        Waveform (channels, samples) float32 with the file's channels, and the sample rate in Hz.

    Raises:
        BadClip: if it is missing, unreadable or has samples that are not finite, or so large that sums of them would
            not be.
    """
    try:
        info = inspect(source)
        if info.parts:
            whole, rate = read_parts(source, info.parts)
            samples = whole[start:] if frames < 0 else whole[start : start + frames]
        else:
            with soundfile.SoundFile(for_decoder(source)) as file:
                file.seek(start)
                samples, rate = file.read(frames, dtype="float32", always_2d=True), file.samplerate
    except ERRORS as error:
        if isinstance(error, BadClip):
            raise
        raise BadClip(Fault.UNREADABLE, decoder_report(error, source)) from error
    if not len(samples):
        raise BadClip(Fault.UNREADABLE, f"no samples after sample {start}")
    if not np.isfinite(samples).all():
        raise BadClip(Fault.NOT_FINITE, f"{np.count_nonzero(~np.isfinite(samples))} samples are NaN or infinite")
    if (peak := np.abs(samples).max()) > LARGEST:
        raise BadClip(
            Fault.NOT_FINITE, f"samples up to {peak:.1e}, expected about -1 to 1: sums of them would overflow"
        )
    return torch.from_numpy(samples).T, rate


def warn_of_cancelling(path: Path, sound: Sound) -> None:
    """Log a file whose channels almost cancel each other, so that their mean lacks most of the sound, or of a part."""
    if sound.cancelling:
        log.warning("%s: %s", path, sound.cancelling)


def mono(waveform: Tensor) -> Tensor:
    """The mean (samples,) of (channels, samples).

    Raises:
        BadClip: if it is silent and a channel is not.
    """
    mean = waveform.mean(dim=0)
    # An offset that the channels share stays in their mean, and is no sound.
    silent = (mean - mean.mean()).abs().max() < SILENCE_PEAK <= waveform.abs().max()
    if len(waveform) > 1 and silent and kept_power(waveform) < CANCELLED_SHARE:
        raise BadClip(
            Fault.CANCELLED,
            f"channels up to {waveform.abs().max():.2g} have a silent mean: one is another upside down; keep one of "
            "them, such as with `sox old.wav new.wav remix 1`",
        )
    return mean
